/*
 * migrate: the schema that this program brings with it, and the command that brings a database up to it.
 *
 * A database says what it holds in one line, its stamp: the comment of the SQL schema `mitrad`, such as
 * "version 1, functions 3f7a…".  It lives and dies with the functions, and can be asked for without knowing
 * any table.
 */
#ifndef SCHEMA_MIGRATE_H
#define SCHEMA_MIGRATE_H

struct config;

/* `mitrad migrate`; blocking. 0, or 1 after it has logged why not. */
int migrate_command(const struct config *);

/* Answers one row, column `stamp`, never NULL: "" for a database that was never migrated. */
#define SCHEMA_STAMP_SQL \
	"select coalesce(obj_description(to_regnamespace('mitrad'), 'pg_namespace'), '') as stamp"

/* The newest version compiled in. */
int schema_version(void);
/* What the stamp of a database must be for this program to serve it; if it is another, say "run mitrad migrate". */
const char *schema_stamp(void);
/* The version in a database's stamp, 0 if there is none.  Greater than schema_version(): the program is the old one. */
int schema_stamp_version(const char *stamp);

#endif
