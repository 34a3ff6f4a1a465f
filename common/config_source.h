/*
 * config_source: where the values come from: the environment, the file of --config, and the files of
 * NAME_FILE. Used by config.c only.
 */
#ifndef COMMON_CONFIG_SOURCE_H
#define COMMON_CONFIG_SOURCE_H

#include <stdbool.h>
#include <stdio.h>

#include "common/arena.h"
#include "common/settings.h"

/* Faults are written as they are found, one line each, and counted. */
struct config_faults {
	FILE *out;
	int count;
};

void
config_fault(struct config_faults *, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct config_source {
	struct arena *memory; /* of the values that are handed out */
	struct config_faults *faults;
	const char *file; /* NULL: none */
	char *content;    /* of the file, cut into the lines' names and values; wiped at the end */
	size_t content_bytes;
	struct config_line *lines; /* in the file's order */
};

/* What a configuration says about one name. */
struct config_given {
	const char *value;  /* NULL: nothing */
	const char *origin; /* where it stands, for a fault */
	bool faulty;        /* it was given, and a fault has been written */
};

/* Reads the file, if there is one. */
void config_source_open(
    struct config_source *, struct arena *memory, const char *file, struct config_faults *);
void config_source_close(struct config_source *);

struct config_given config_source_find(struct config_source *, const struct setting *);
/* A name that is no row of settings.def: PORT. */
struct config_given config_source_find_plain(struct config_source *, const char *name);

#endif
