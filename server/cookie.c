/* cookie: see the header for why so.  Syntax: RFC 6265, sections 4.1 and 4.2. */
#include "server/cookie.h"

#include <string.h>

#include "server/reply.h"
#include "server/request.h"

#define VALUE_LENGTH_MAX 256

const char *
cookie_read(struct request *r)
{
	const char *at = request_header(r, "Cookie");
	size_t name_length = strlen(COOKIE_NAME "=");

	while (at != NULL && *at != '\0') {
		size_t length;

		at += strspn(at, "; ");
		length = strcspn(at, ";");
		if (strncmp(at, COOKIE_NAME "=", name_length) != 0) {
			at += length;
			continue;
		}
		length -= name_length;
		if (length == 0 || length > VALUE_LENGTH_MAX)
			return NULL;
		return arena_strndup(&r->arena, at + name_length, length);
	}
	return NULL;
}

void
cookie_set(struct request *r, const char *value, long seconds)
{
	reply_header(r, "Set-Cookie",
	    arena_printf(&r->arena,
		COOKIE_NAME "=%s; Path=" COOKIE_PATH
			    "; Max-Age=%ld; HttpOnly; Secure; SameSite=Strict",
		value, seconds));
}
