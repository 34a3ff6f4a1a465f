/*
 * config_print: the configuration for people: `mitrad check` and docs/settings.md.
 *
 * A URL is shown as it was written, with *** for its password, where one can see at a glance what is password
 * and what is not. Any other DATABASE_URL is written anew, as a keyword string of what libpq understood:
 * libpq itself says which of its options are passwords, however they were written.
 */
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "common/config.h"
#include "common/settings.h"

#define HIDDEN "***"

static const char *hide_valkey(struct arena *, const char *url);
static const char *hide_database(struct arena *, const char *url);
static bool is_plain_uri(const char *url);
static const char *hide_between(struct arena *, const char *url, const char *at);
static const char *as_keywords(struct arena *, const char *url);
static const char *keyword_quoted(struct arena *, const char *value);
static void print_markdown_row(FILE *, const struct setting *);

void
config_print(const struct config *config, FILE *out)
{
	size_t i;

	for (i = 0; i < settings_count; i++) {
		fprintf(out, "%s=", settings[i].name);
		settings[i].kind->print(out, settings_field_of(&settings[i], config));
		fputc('\n', out);
	}
}

const char *
config_hide_password(struct arena *memory, const char *url)
{
	return strncmp(url, "redis", 5) == 0 ? hide_valkey(memory, url)
					     : hide_database(memory, url);
}

/* As valkey_url_parse() reads it: the last @ ends the user information. */
static const char *
hide_valkey(struct arena *memory, const char *url)
{
	return hide_between(memory, url, strrchr(url, '@'));
}

static const char *
hide_database(struct arena *memory, const char *url)
{
	return is_plain_uri(url) ? hide_between(memory, url, strchr(url, '@'))
				 : as_keywords(memory, url);
}

/* scheme://[user[:password]@]host/database[?parameters], and nothing that may be a password behind the @. */
static bool
is_plain_uri(const char *url)
{
	const char *userinfo, *at, *query;

	if (strncmp(url, "postgres://", 11) != 0 && strncmp(url, "postgresql://", 13) != 0)
		return false;
	userinfo = strstr(url, "://") + 3;
	at = strchr(userinfo, '@');
	if (at && (strchr(at + 1, '@') || strcspn(userinfo, "/?") < (size_t)(at - userinfo)))
		return false;
	query = strchr(at ? at : userinfo, '?');
	return !query || (!strcasestr(query, "password") && !strchr(query, '%'));
}

/* Hides what lies between the first colon behind the scheme and the @, if there is one. */
static const char *
hide_between(struct arena *memory, const char *url, const char *at)
{
	const char *userinfo = strstr(url, "://") + 3;
	const char *colon = at ? memchr(userinfo, ':', (size_t)(at - userinfo)) : NULL;

	if (!colon)
		return arena_strdup(memory, url);
	return arena_printf(memory, "%.*s" HIDDEN "%s", (int)(colon + 1 - url), url, at);
}

static const char *
as_keywords(struct arena *memory, const char *url)
{
	PQconninfoOption *options = PQconninfoParse(url, NULL);
	const char *shown = "";

	if (!options)
		return HIDDEN;
	for (const PQconninfoOption *option = options; option->keyword; option++) {
		bool password = strchr(option->dispchar, '*') != NULL;

		if (option->val)
			shown = arena_printf(memory, "%s%s%s=%s", shown,
			    shown[0] == '\0' ? "" : " ", option->keyword,
			    password ? HIDDEN : keyword_quoted(memory, option->val));
	}
	PQconninfoFree(options);
	return shown;
}

/* As libpq reads it back: quotes around what is empty or has blanks, a backslash before ' and \. */
static const char *
keyword_quoted(struct arena *memory, const char *value)
{
	char *quoted, *out;

	if (value[0] != '\0' && !strpbrk(value, " \t'\\"))
		return arena_strdup(memory, value);
	out = quoted = arena_alloc(memory, 2 * strlen(value) + 3);
	*out++ = '\'';
	for (; *value; value++) {
		if (*value == '\'' || *value == '\\')
			*out++ = '\\';
		*out++ = *value;
	}
	*out = '\'';
	return quoted;
}

void
config_print_markdown(FILE *out)
{
	size_t i;

	fputs("# Settings\n\n"
	      "Written by `mitrad settings` from `common/settings.def`; do not edit.\n\n"
	      "A setting comes from the environment, or else from a line `NAME=value` of the file "
	      "given by\n"
	      "`--config`. Where the kind is marked with `_FILE`, `NAME_FILE` may name a file that "
	      "holds the\n"
	      "value instead. Whatever cannot be used stops the start: exit 2, and one line for "
	      "every fault.\n\n"
	      "| name | default | kind | meaning |\n|---|---|---|---|\n",
	    out);
	for (i = 0; i < settings_count; i++)
		print_markdown_row(out, &settings[i]);
}

static void
print_markdown_row(FILE *out, const struct setting *setting)
{
	fprintf(out, "| `%s` | ", setting->name);
	if (!setting->fallback)
		fputs("required", out);
	else if (setting->fallback[0] == '\0')
		fputs("\xe2\x80\x93", out);
	else
		fprintf(out, "`%s`", setting->fallback);
	fprintf(out, " | %s", setting->kind->description);
	if (setting->kind == &setting_kind_integer)
		fprintf(out, ", %ld to %ld", setting->least, setting->most);
	fprintf(out, "%s | %s |\n", setting->kind->secret ? ", `_FILE`" : "", setting->meaning);
}
