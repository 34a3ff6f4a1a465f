/* files: the SQL of this folder, as embed.py compiled it in. */
#ifndef SCHEMA_FILES_H
#define SCHEMA_FILES_H

struct schema_file {
	const char *name; /* "001_tables.sql" */
	const char *sha256;
	const char *sql;
};

/* The migration of version n is schema_migrations[n - 1]. */
extern const struct schema_file schema_migrations[];
extern const int schema_migrations_count;

/* In the order in which they build on each other, which is that of their names. */
extern const struct schema_file schema_functions[];
extern const int schema_functions_count;

/* See migrate.h. */
extern const char schema_stamp_text[];

#endif
