/*
 * setting_kinds: how a value of each kind is read and shown.
 *
 * Reading answers NULL or the reason why not, for a person.  A reason quotes the value, so that the operator
 * sees what arrived here, but never that of a kind that may hold a secret.
 */
#include "common/settings.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/config.h"

#define QUOTED_BYTES_MAX 80

static const char *quoted(struct arena *, const char *value);
static bool has_control_bytes(const char *value);
static const char *check_length(struct arena *, const struct setting *, const char *value);
static const char *parse_choice(
    struct arena *, const char *value, const char *const *names, size_t count, int *result);

static const char *
text_parse(struct arena *memory, const struct setting *setting, const char *value, void *field)
{
	if (value[0] != '\0') {
		const char *reason = check_length(memory, setting, value);

		if (reason)
			return reason;
	}
	if (has_control_bytes(value))
		return "has control characters in it";
	*(config_text *)field = value;
	return NULL;
}

static void
text_print(FILE *out, const void *field)
{
	fputs(*(const config_text *)field, out);
}

const struct setting_kind setting_kind_text = {
	.description = "text",
	.parse = text_parse,
	.print = text_print,
};

static const char *
secret_parse(struct arena *memory, const struct setting *setting, const char *value, void *field)
{
	if (value[0] != '\0') {
		const char *reason = check_length(memory, setting, value);

		if (reason)
			return reason;
	}
	*(config_secret *)field = value;
	return NULL;
}

static void
secret_print(FILE *out, const void *field)
{
	const char *secret = *(const config_secret *)field;

	fputs(secret[0] == '\0' ? "" : "***", out);
}

const struct setting_kind setting_kind_secret = {
	.description = "secret",
	.secret = true,
	.parse = secret_parse,
	.print = secret_print,
};

static const char *
url_parse(struct arena *memory, const struct setting *setting, const char *value, void *field)
{
	const char *reason = check_length(memory, setting, value);

	if (reason)
		return reason;
	if (has_control_bytes(value))
		return "has control characters in it";
	*(config_url *)field = value;
	return NULL;
}

static void
url_print(FILE *out, const void *field)
{
	struct arena memory = { 0 };

	fputs(config_hide_password(&memory, *(const config_url *)field), out);
	arena_free(&memory);
}

const struct setting_kind setting_kind_url = {
	.description = "URL",
	.secret = true,
	.parse = url_parse,
	.print = url_print,
};

static const char *
integer_parse(struct arena *memory, const struct setting *setting, const char *value, void *field)
{
	return setting_parse_integer(memory, value, setting->least, setting->most, field);
}

static void
integer_print(FILE *out, const void *field)
{
	fprintf(out, "%d", *(const config_integer *)field);
}

const struct setting_kind setting_kind_integer = {
	.description = "number",
	.parse = integer_parse,
	.print = integer_print,
};

const char *
setting_parse_integer(struct arena *memory, const char *value, long least, long most, int *result)
{
	const char *digits = value[0] == '-' ? value + 1 : value;
	long number;

	/* strtol() would take spaces and a plus sign, too. */
	if (digits[0] == '\0' || digits[strspn(digits, "0123456789")] != '\0')
		return arena_printf(memory, "%s is not a whole number", quoted(memory, value));
	errno = 0;
	number = strtol(value, NULL, 10);
	if (errno != 0 || number < least || number > most)
		return arena_printf(
		    memory, "%s is not within %ld to %ld", quoted(memory, value), least, most);
	*result = (int)number;
	return NULL;
}

static const char *
flag_parse(struct arena *memory, const struct setting *setting, const char *value, void *field)
{
	if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
		return arena_printf(memory, "%s is neither 0 nor 1", quoted(memory, value));
	*(config_flag *)field = value[0] == '1';
	return NULL;
}

static void
flag_print(FILE *out, const void *field)
{
	fputc(*(const config_flag *)field ? '1' : '0', out);
}

const struct setting_kind setting_kind_flag = {
	.description = "0 or 1",
	.parse = flag_parse,
	.print = flag_print,
};

/*
 * address:port, and [address]:port as IPv6 needs it. Names are refused: what they resolve to may change
 * between two starts.
 */
static const char *
listen_parse(struct arena *memory, const struct setting *setting, const char *value, void *field)
{
	const char *colon = strrchr(value, ':');
	struct in6_addr address;
	struct config_listen listen = { 0 };
	const char *reason;
	char *host;
	int family = AF_INET;

	if (value[0] == '\0' && setting->least == 0) {
		*(config_listen *)field = listen;
		return NULL;
	}
	if (!colon)
		return arena_printf(memory, "%s is not address:port", quoted(memory, value));
	host = arena_strndup(memory, value, (size_t)(colon - value));
	if (host[0] == '[' && colon[-1] == ']') {
		family = AF_INET6;
		host[strlen(host) - 1] = '\0';
		host++;
	}
	if (inet_pton(family, host, &address) != 1)
		return arena_printf(memory,
		    "%s does not begin with an IP address (an IPv6 address goes in brackets)",
		    quoted(memory, value));
	reason = setting_parse_integer(memory, colon + 1, 1, 65535, &listen.port);
	if (reason)
		return arena_printf(memory, "the port in %s: %s", quoted(memory, value), reason);
	listen.host = host;
	*(config_listen *)field = listen;
	return NULL;
}

static void
listen_print(FILE *out, const void *field)
{
	const struct config_listen *listen = field;

	if (!listen->host)
		return;
	fprintf(out, strchr(listen->host, ':') ? "[%s]:%d" : "%s:%d", listen->host, listen->port);
}

const struct setting_kind setting_kind_listen = {
	.description = "address:port",
	.parse = listen_parse,
	.print = listen_print,
};

static const char *const severity_names[] = {
	[SEVERITY_DEBUG] = "debug",
	[SEVERITY_INFO] = "info",
	[SEVERITY_WARNING] = "warning",
	[SEVERITY_ERROR] = "error",
	[SEVERITY_CRITICAL] = "critical",
};

static const char *
severity_parse(struct arena *memory, const struct setting *setting, const char *value, void *field)
{
	int choice = 0;
	const char *reason = parse_choice(memory, value, severity_names,
	    sizeof(severity_names) / sizeof(severity_names[0]), &choice);

	if (!reason)
		*(config_severity *)field = (enum log_severity)choice;
	return reason;
}

static void
severity_print(FILE *out, const void *field)
{
	fputs(severity_names[*(const config_severity *)field], out);
}

const struct setting_kind setting_kind_severity = {
	.description = "debug, info, warning, error or critical",
	.parse = severity_parse,
	.print = severity_print,
};

static const char *const format_names[] = {
	[FORMAT_JSON] = "json",
	[FORMAT_TEXT] = "text",
};

static const char *
format_parse(struct arena *memory, const struct setting *setting, const char *value, void *field)
{
	int choice = 0;
	const char *reason = parse_choice(
	    memory, value, format_names, sizeof(format_names) / sizeof(format_names[0]), &choice);

	if (!reason)
		*(config_format *)field = (enum log_format)choice;
	return reason;
}

static void
format_print(FILE *out, const void *field)
{
	fputs(format_names[*(const config_format *)field], out);
}

const struct setting_kind setting_kind_format = {
	.description = "json or text",
	.parse = format_parse,
	.print = format_print,
};

static const char *
parse_choice(
    struct arena *memory, const char *value, const char *const *names, size_t count, int *result)
{
	const char *all = names[0];
	size_t i;

	for (i = 0; i < count; i++) {
		if (strcmp(value, names[i]) == 0) {
			*result = (int)i;
			return NULL;
		}
		if (i > 0)
			all = arena_printf(memory, "%s, %s", all, names[i]);
	}
	return arena_printf(memory, "%s is none of: %s", quoted(memory, value), all);
}

static const char *
check_length(struct arena *memory, const struct setting *setting, const char *value)
{
	size_t length = strlen(value);

	if (length == 0)
		return "is empty";
	if (length < (size_t)setting->least)
		return arena_printf(memory, "is too short: %zu bytes, at least %ld are needed",
		    length, setting->least);
	if (length > (size_t)setting->most)
		return arena_printf(memory, "is too long: %zu bytes, at most %ld are allowed",
		    length, setting->most);
	return NULL;
}

static bool
has_control_bytes(const char *value)
{
	for (; *value; value++)
		if (iscntrl((unsigned char)*value))
			return true;
	return false;
}

/* In quotes, cut, and with nothing in it that could break the fault's line. */
static const char *
quoted(struct arena *memory, const char *value)
{
	char *copy = arena_printf(memory, "\"%.*s\"", QUOTED_BYTES_MAX, value);

	for (char *byte = copy; *byte; byte++)
		if (iscntrl((unsigned char)*byte))
			*byte = '?';
	return copy;
}
