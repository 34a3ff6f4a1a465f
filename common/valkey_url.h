/* valkey_url: takes VALKEY_URL apart: redis://[user:password@]host[:port][/db], rediss:// for TLS. */
#ifndef COMMON_VALKEY_URL_H
#define COMMON_VALKEY_URL_H

#include <stdbool.h>

#include "common/arena.h"

struct valkey_url {
	bool tls;
	const char *user;     /* "" if none is named */
	const char *password; /* "" if none */
	const char *host;     /* a name or an address, without brackets */
	int port;             /* 6379 unless given */
	int database;         /* 0 unless given */
};

/*
 * NULL, or why the URL is refused; the reason never quotes it. Strings are in the arena, user and password
 * percent-decoded.
 */
const char *valkey_url_parse(struct arena *, const char *text, struct valkey_url *);

#endif
