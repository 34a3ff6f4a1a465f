/* jwk_set: a document of public keys (RFC 7517 section 5), of which those count that RS256 signatures are checked by. */
#ifndef SERVER_JWK_SET_H
#define SERVER_JWK_SET_H

#include <stddef.h>

#define JWK_SET_KEYS_MAX 32

struct evp_pkey_st;

struct jwk {
	char *id;
	struct evp_pkey_st *key;
};

/* All zero is an empty set. */
struct jwk_set {
	struct jwk keys[JWK_SET_KEYS_MAX];
	size_t count;
};

/* The usable keys of the document, none if it is no such document. What was in *set is not freed. */
void jwk_set_read(struct jwk_set *, const char *text, size_t length);
void jwk_set_clear(struct jwk_set *);
/* NULL: there is none by that id. Borrowed. */
struct evp_pkey_st *jwk_set_find(const struct jwk_set *, const char *id);

#endif
