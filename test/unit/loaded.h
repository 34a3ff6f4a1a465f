/* loaded: a configuration read from an environment and a file that a test makes up. */
#ifndef TEST_UNIT_LOADED_H
#define TEST_UNIT_LOADED_H

#include <stddef.h>

#include "common/config.h"

#define GOOD_DATABASE "DATABASE_URL=postgresql://app:pw@localhost/mitra"
#define GOOD_SECRET   "AUTH_JWT_SECRET=0123456789abcdef0123456789abcdef"

struct loaded {
	struct config config;
	int count;    /* of faults */
	char *faults; /* as written */
};

/*
 * `environment`: NAME=value, ended by NULL; nothing else is in the environment. `file`: its content, NULL for
 * none.
 */
struct loaded loaded_new(const char *const *environment, const char *file);
/* The same with what is required, and one more line. */
struct loaded loaded_with(const char *line);
void loaded_free(struct loaded *);

/* A file under /tmp with that content; remove and free the path. */
char *loaded_file(const void *content, size_t length);

#endif
