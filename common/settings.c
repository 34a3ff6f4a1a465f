/*
 * settings: the table made of settings.def, and the search for the name that a misspelt one was meant to be.
 */
#include "common/settings.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

#include "common/config.h"

#define NAME_BYTES_MAX ((size_t)64) /* longer names resemble nothing */

const struct setting settings[] = {
#define SETTING(kind, field, name, fallback, least, most, meaning)                            \
	{ &setting_kind_##kind, offsetof(struct config, field), #name, fallback, least, most, \
		meaning },
#include "common/settings.def"
#undef SETTING
};

const size_t settings_count = sizeof(settings) / sizeof(settings[0]);

struct nearest {
	const char *name;
	size_t distance;
};

static void consider(struct nearest *, const char *candidate, const char *name);
static size_t edit_distance(const char *, const char *);
static size_t least_of(size_t, size_t, size_t);
static const char *name_file(struct arena *, const struct setting *);

void *
settings_field(const struct setting *setting, struct config *config)
{
	return (char *)config + setting->offset;
}

const void *
settings_field_of(const struct setting *setting, const struct config *config)
{
	return (const char *)config + setting->offset;
}

bool
settings_knows(const char *name)
{
	size_t i;

	if (strcmp(name, "PORT") == 0)
		return true;
	for (i = 0; i < settings_count; i++) {
		size_t length = strlen(settings[i].name);

		if (strncmp(name, settings[i].name, length) != 0)
			continue;
		if (name[length] == '\0')
			return true;
		if (settings[i].kind->secret && strcmp(name + length, "_FILE") == 0)
			return true;
	}
	return false;
}

const char *
settings_nearest(struct arena *memory, const char *name)
{
	struct nearest nearest = { .distance = SIZE_MAX };
	size_t i;

	if (strlen(name) > NAME_BYTES_MAX)
		return NULL;
	consider(&nearest, "PORT", name);
	for (i = 0; i < settings_count; i++) {
		consider(&nearest, settings[i].name, name);
		if (settings[i].kind->secret)
			consider(&nearest, name_file(memory, &settings[i]), name);
	}
	/* Farther off than half of its letters it is another word. */
	return nearest.distance <= strlen(nearest.name) / 2 ? nearest.name : NULL;
}

static const char *
name_file(struct arena *memory, const struct setting *setting)
{
	return arena_printf(memory, "%s_FILE", setting->name);
}

static void
consider(struct nearest *nearest, const char *candidate, const char *name)
{
	size_t distance = edit_distance(candidate, name);

	if (distance < nearest->distance)
		*nearest = (struct nearest){ candidate, distance };
}

/* Letters to insert, delete or replace (Levenshtein), case aside. Both at most NAME_BYTES_MAX long. */
static size_t
edit_distance(const char *a, const char *b)
{
	size_t row[NAME_BYTES_MAX + 1]; /* of the classic matrix, the line for a[0..i] */
	size_t a_length = strlen(a), b_length = strlen(b);

	for (size_t j = 0; j <= b_length; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			bool same = toupper((unsigned char)a[i - 1]) ==
				    toupper((unsigned char)b[j - 1]);
			size_t replaced = diagonal + !same;

			diagonal = row[j];
			row[j] = least_of(row[j] + 1, row[j - 1] + 1, replaced);
		}
	}
	return row[b_length];
}

static size_t
least_of(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;

	return c < least ? c : least;
}
