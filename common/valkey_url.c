/*
 * valkey_url: cut from both ends, so that an odd character in a password cannot move the host.
 *
 * The scheme goes first; the user information ends at the last @; what is left is host, port and database.
 */
#include "common/valkey_url.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define PORT_DEFAULT  6379
#define DATABASE_MOST 65535

static const char *take_user(struct arena *, char *userinfo, struct valkey_url *);
static const char *take_database(const char *text, struct valkey_url *);
static const char *take_host(char *text, struct valkey_url *);
static bool read_number(const char *text, int most, int *number);
static bool percent_decode(char *text);

const char *
valkey_url_parse(struct arena *memory, const char *text, struct valkey_url *url)
{
	char *rest, *at, *slash;
	const char *reason;

	*url = (struct valkey_url){ .user = "", .password = "", .port = PORT_DEFAULT };
	if (strncmp(text, "redis://", 8) != 0 && strncmp(text, "rediss://", 9) != 0)
		return "begins neither with redis:// nor with rediss://";
	url->tls = text[5] == 's';
	rest = arena_strdup(memory, strstr(text, "://") + 3);

	at = strrchr(rest, '@');
	if (at) {
		*at = '\0';
		reason = take_user(memory, rest, url);
		if (reason)
			return reason;
		rest = at + 1;
	}
	slash = strchr(rest, '/');
	if (slash) {
		*slash = '\0';
		reason = take_database(slash + 1, url);
		if (reason)
			return reason;
	}
	return take_host(rest, url);
}

/* Without a colon it is a user to some clients and a password to others, so we ask which. */
static const char *
take_user(struct arena *memory, char *userinfo, struct valkey_url *url)
{
	char *colon = strchr(userinfo, ':');

	if (!colon)
		return "has no colon between user and password (a password alone is :password@)";
	*colon = '\0';
	if (!percent_decode(userinfo) || !percent_decode(colon + 1))
		return "has a bad %-sequence in the user or the password";
	url->user = userinfo;
	url->password = colon + 1;
	return NULL;
}

static const char *
take_database(const char *text, struct valkey_url *url)
{
	if (text[0] != '\0' && !read_number(text, DATABASE_MOST, &url->database))
		return "has a database that is not a number from 0 to 65535";
	return NULL;
}

static const char *
take_host(char *text, struct valkey_url *url)
{
	char *end = text + strcspn(text, ":");

	if (text[0] == '[') {
		text++;
		end = strchr(text, ']');
		if (!end)
			return "has a bracket before the host that is not closed";
		*end++ = '\0';
		if (*end != '\0' && *end != ':')
			return "has something between the host and its port";
	}
	if (*end == ':') {
		*end++ = '\0';
		if (!read_number(end, 65535, &url->port) || url->port == 0)
			return "has a port that is not a number from 1 to 65535";
	}
	if (text[0] == '\0')
		return "has no host";
	if (text[strspn(text,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:%")] != '\0')
		return "has a host with a character in it that no host has";
	url->host = text;
	return NULL;
}

static bool
read_number(const char *text, int most, int *number)
{
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 5 || text[digits] != '\0')
		return false;
	*number = atoi(text);
	return *number <= most;
}

/* In place. %00 would cut the text, so it is refused. */
static bool
percent_decode(char *text)
{
	char *out = text;

	while (*text) {
		char hex[3] = { 0 };

		if (*text != '%') {
			*out++ = *text++;
			continue;
		}
		if (!isxdigit((unsigned char)text[1]) || !isxdigit((unsigned char)text[2]))
			return false;
		memcpy(hex, text + 1, 2);
		*out = (char)strtol(hex, NULL, 16);
		if (*out++ == '\0')
			return false;
		text += 3;
	}
	*out = '\0';
	return true;
}
