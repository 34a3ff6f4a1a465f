/*
 * jwks: the public keys by which an identity provider signs its ID tokens (RFC 7517), fetched from its URL.
 *
 * Kept as long as the answer's Cache-Control says, within reason.  A key id that is not among them may be a new one: then the set
 * is fetched again, but at most once a minute, whatever ids are made up.  Fetches are shared: who comes while one is under way
 * waits for it.  If the provider cannot be reached, keys that expired less than an hour ago still count.
 */
#ifndef SERVER_JWKS_H
#define SERVER_JWKS_H

#include "server/step.h"

struct jwks;
struct request;
struct worker;

/* `url` must outlive it. */
struct jwks *jwks_new(struct worker *, const char *url);
/* Once nobody waits: after http_client_free(). */
void jwks_free(struct jwks *);

/*
 * `next` gets the key by that id, NULL if the provider has none; it is borrowed until `next` returns.  If the provider
 * cannot be asked, the request is answered 503.
 */
outcome jwks_find(struct request *, struct jwks *, const char *key_id, key_fn *next);

#endif
