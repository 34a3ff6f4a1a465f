/*
 * config_save: the effective configuration as bytes and back, for a master that executes itself anew
 * and must still be able to start children of the generation before.  NAME=value records, each ended by
 * a NUL, because a secret may have newlines in it.  The two programs may be of different versions: what
 * only the reader knows gets its default, what only the writer knows is skipped.
 */
#include <string.h>

#include "common/config.h"
#include "common/settings.h"

static const char *find_value(const char *bytes, size_t length, const char *name);

void
config_save(const struct config *config, FILE *out)
{
	for (size_t i = 0; i < settings_count; i++) {
		const struct setting *setting = &settings[i];
		const void *field = settings_field_of(setting, config);

		fprintf(out, "%s=", setting->name);
		/* What may be secret is a string, and print() would hide it. */
		if (setting->kind->secret)
			fputs(*(const char *const *)field, out);
		else
			setting->kind->print(out, field);
		fputc('\0', out);
	}
}

bool
config_restore(struct config *config, const char *file, enum config_role role, const char *bytes,
    size_t length)
{
	*config = (struct config){ .role = role };
	if (file)
		config->file = arena_strdup(&config->strings, file);
	for (size_t i = 0; i < settings_count; i++) {
		const struct setting *setting = &settings[i];
		const char *value = find_value(bytes, length, setting->name);

		if (!value)
			value = setting->fallback;
		if (!value)
			return false;
		value = arena_strdup(&config->strings, value);
		if (setting->kind->parse(
			&config->strings, setting, value, settings_field(setting, config)))
			return false;
	}
	return true;
}

/* `bytes` ends with a NUL, or is empty. */
static const char *
find_value(const char *bytes, size_t length, const char *name)
{
	size_t name_length = strlen(name);

	for (const char *record = bytes; record < bytes + length; record += strlen(record) + 1)
		if (strncmp(record, name, name_length) == 0 && record[name_length] == '=')
			return record + name_length + 1;
	return NULL;
}
