/*
 * id_token: what Google and Apple say of who somebody is (OpenID Connect Core section 3.1.3.7): a JWT signed by RS256.
 *
 * No other algorithm is ever looked at, and the key is never taken from the token.
 */
#ifndef SERVER_ID_TOKEN_H
#define SERVER_ID_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"

struct evp_pkey_st;
struct json;

/* In the arena that id_token_read() was given. */
struct id_token {
	const char *key_id;
	const struct json *claims;
	const char *signed_text; /* what the signature covers */
	size_t signed_length;
	const unsigned char *signature;
	size_t signature_length;
};

/* What a token must say. */
struct id_token_wanted {
	const char *issuers;    /* comma-separated: one of them */
	const char *client_ids; /* likewise: it is meant for one of them */
	const char *nonce;      /* or its SHA-256 in hexadecimal, as apps give it to Apple */
	int64_t now_seconds;
};

/* False: it is no such token. Nothing in it is to be believed yet. */
bool id_token_read(struct arena *, const char *text, struct id_token *);
bool id_token_signed_by(const struct id_token *, struct evp_pkey_st *);
/* NULL, or what is wrong with the claims; for a developer, nothing of the token's is in it. */
const char *id_token_fault(const struct id_token *, const struct id_token_wanted *);

/* Of a token that has been found good. */
const char *id_token_subject(const struct id_token *);
const char *id_token_email(const struct id_token *); /* NULL unless the provider has verified it */
/* As one is shown here, in the arena; NULL if there is none that we would take. */
const char *id_token_name(struct arena *, const struct id_token *);

#endif
