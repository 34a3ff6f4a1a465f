/*
 * settings: settings.def as a table, and what each kind of setting can do. Used by the files of config only.
 */
#ifndef COMMON_SETTINGS_H
#define COMMON_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "common/arena.h"

struct config;
struct setting;

/* How a value is read and shown. `field` points at the setting's member of struct config. */
struct setting_kind {
	const char *description; /* for docs/settings.md */
	bool
	    secret; /* may hold one: comes as NAME_FILE too, is wiped, and is never quoted in a fault */
	/*
	 * NULL, or why the value is refused, for a person; in the arena. The value lives as long as the
	 * arena.
	 */
	const char *(*parse)(
	    struct arena *, const struct setting *, const char *value, void *field);
	void (*print)(FILE *, const void *field);
};

/* One row. */
struct setting {
	const struct setting_kind *kind;
	size_t offset; /* of its member in struct config */
	const char *name;
	const char *fallback; /* the default as an operator would write it; NULL: required */
	long least, most;
	const char *meaning;
};

extern const struct setting settings[];
extern const size_t settings_count;

void *settings_field(const struct setting *, struct config *);
const void *settings_field_of(const struct setting *, const struct config *);

/* Is this a name that a configuration may hold? NAME_FILE of a secret and PORT are such names too. */
bool settings_knows(const char *name);
/* The known name that `name` was most likely meant to be, in the arena; NULL if it resembles none. */
const char *settings_nearest(struct arena *, const char *name);

extern const struct setting_kind setting_kind_text;
extern const struct setting_kind setting_kind_secret;
extern const struct setting_kind setting_kind_url;
extern const struct setting_kind setting_kind_integer;
extern const struct setting_kind setting_kind_flag;
extern const struct setting_kind setting_kind_listen;
extern const struct setting_kind setting_kind_severity;
extern const struct setting_kind setting_kind_format;

/* A whole decimal number within the bounds; otherwise why not, in the arena. */
const char *
setting_parse_integer(struct arena *, const char *value, long least, long most, int *result);

#endif
