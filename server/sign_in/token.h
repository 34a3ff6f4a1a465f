/*
 * token: access tokens, HS256 JWTs (docs/api.md, Everywhere).
 */
#ifndef SERVER_TOKEN_H
#define SERVER_TOKEN_H

#include "server/request.h"

struct config;
struct token_keys;

enum token_state {
	TOKEN_VALID,
	TOKEN_PAST, /* a good signature, but expired */
	TOKEN_INVALID,
};

/* AUTH_JWT_SECRET and its predecessor. Exits with 2 if the secret is too short: libjwt takes an empty key for "no check". */
struct token_keys *token_keys_new(const struct config *);
void token_keys_free(struct token_keys *); /* wipes them */

/* Fills *caller if it is valid, and only then. */
enum token_state token_verify(const struct token_keys *, const char *token, struct caller *);

/* A new access token; session_id may be "". free() it. */
char *token_issue(const struct token_keys *, const struct caller *, long ttl_seconds);

/* `mitrad token mitra|customer|admin|agent ID [--session UUID] [--ttl SECONDS]`: prints one, for trying things out. */
int token_command(const struct config *, int count, char *const *arguments);

#endif
