/*
 * refresh_token: what a device keeps to get new access tokens (docs/api.md).
 *
 * 256 bits as base64url.  Only the SHA-256 of that text is stored: nobody can guess such a token, so no slow hash is needed.
 *
 * A token is exchanged for its successor: HMAC-SHA256 of a random salt, the key being the token itself.  So whoever
 * repeats an exchange is given the same successor without the server having kept it: the row holds the salt and two
 * hashes, none of which leads to a token.  See schema/functions/35_auth_sessions.sql.
 */
#ifndef SERVER_REFRESH_TOKEN_H
#define SERVER_REFRESH_TOKEN_H

#include <stdbool.h>

#define REFRESH_TOKEN_SIZE 44 /* 43 characters and a NUL; a salt has the same form */
#define REFRESH_HASH_SIZE  65 /* 64 hexadecimal digits and a NUL */

struct refresh_token {
	char text[REFRESH_TOKEN_SIZE];
	char hash[REFRESH_HASH_SIZE];
};

/* The first one of a session. */
void refresh_token_new(struct refresh_token *);
/* A salt for the next exchange. */
void refresh_token_salt(char salt[REFRESH_TOKEN_SIZE]);
/* What follows the token `text`, which somebody presented. */
void refresh_token_successor(const char *text, const char *salt, struct refresh_token *);
/* Of any text that somebody presents as one. */
void refresh_token_hash(const char *text, char hash[REFRESH_HASH_SIZE]);

#endif
