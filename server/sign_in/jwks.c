/* jwks: one set of keys, replaced as a whole by each fetch that brings a usable one. */
#include "server/sign_in/jwks.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/http_client.h"
#include "common/log.h"
#include "server/sign_in/jwk_set.h"
#include "server/reply.h"
#include "server/request.h"

#define FETCH_TIMEOUT_MS  5000
#define FETCH_AGAIN_MS    60000 /* after a fetch that went well */
#define FETCH_FAILED_MS   2000  /* after one that did not */
#define STALE_BELIEVED_MS 3600000

#define FRESH_LEAST_SECONDS  60U
#define FRESH_MOST_SECONDS   86400U
#define FRESH_UNTOLD_SECONDS 300U /* the provider does not say how long */

struct jwks {
	struct worker *worker;
	const char *url;
	struct jwk_set set;
	int64_t fresh_until_ms; /* monotonic; 0: never fetched */
	int64_t fetch_from_ms;  /* not before that again */
	bool fetching;
	struct request *waiting; /* linked by `sharing` */
};

static http_done_fn keys_arrived;

struct jwks *
jwks_new(struct worker *worker, const char *url)
{
	struct jwks *jwks = calloc(1, sizeof(*jwks));

	if (jwks == NULL)
		fatal("out of memory");
	jwks->worker = worker;
	jwks->url = url;
	return jwks;
}

void
jwks_free(struct jwks *jwks)
{
	jwk_set_clear(&jwks->set);
	free(jwks);
}

/* max-age, within our bounds (RFC 9111 section 5.2.2.1). */
static int64_t
freshness_of(const char *cache_control)
{
	const char *found = strcasestr(cache_control, "max-age=");
	unsigned long seconds = FRESH_UNTOLD_SECONDS;

	if (found != NULL)
		seconds = strtoul(found + strlen("max-age="), NULL, 10);
	if (seconds < FRESH_LEAST_SECONDS)
		seconds = FRESH_LEAST_SECONDS;
	if (seconds > FRESH_MOST_SECONDS)
		seconds = FRESH_MOST_SECONDS;
	return (int64_t)seconds * 1000;
}

static void
fetch(struct jwks *jwks)
{
	struct http_exchange exchange = { .url = jwks->url, .timeout_ms = FETCH_TIMEOUT_MS };

	if (jwks->fetching)
		return;
	jwks->fetching = true;
	http_client_send(jwks->worker->http_client, &exchange, keys_arrived, jwks);
}

/* Keys that have expired still count for a while, should the provider be away. */
static bool
believed(const struct jwks *jwks, int64_t now_ms)
{
	return jwks->set.count > 0 && now_ms < jwks->fresh_until_ms + STALE_BELIEVED_MS;
}

outcome
jwks_find(struct request *r, struct jwks *jwks, const char *key_id, key_fn *next)
{
	int64_t now_ms = clock_monotonic_ms();
	struct evp_pkey_st *key = jwk_set_find(&jwks->set, key_id);
	bool fresh = now_ms < jwks->fresh_until_ms;

	if (fresh && key != NULL)
		return next(r, key);
	if (!jwks->fetching && now_ms < jwks->fetch_from_ms) {
		if (fresh || (key != NULL && believed(jwks, now_ms)))
			return next(r, key);
		return reply_problem(r, PROBLEM_PROVIDER_UNAVAILABLE, NULL);
	}
	r->next.key = next;
	r->key_id = key_id;
	r->sharing = jwks->waiting;
	jwks->waiting = r;
	fetch(jwks);
	return step_waiting_();
}

/* True if the set was replaced. */
static bool
set_replaced(struct jwks *jwks, const struct http_answer *answer)
{
	struct jwk_set set = { 0 };

	if (answer->status == 200)
		jwk_set_read(&set, answer->body, answer->length);
	if (set.count == 0)
		return false;
	jwk_set_clear(&jwks->set);
	jwks->set = set;
	jwks->fresh_until_ms = clock_monotonic_ms() + freshness_of(answer->cache_control);
	return true;
}

static void
keys_arrived(void *argument, const char *error, const struct http_answer *answer)
{
	struct jwks *jwks = argument;
	struct request *r = jwks->waiting, *following;
	bool replaced = error == NULL && set_replaced(jwks, answer);
	int64_t now_ms = clock_monotonic_ms();

	if (error != NULL)
		log_warning("[identity] no keys from %s: %s", jwks->url, error);
	else if (!replaced)
		log_warning("[identity] no keys from %s: it answered %ld, with none", jwks->url,
		    answer->status);
	jwks->fetching = false;
	jwks->waiting = NULL;
	jwks->fetch_from_ms = now_ms + (replaced ? FETCH_AGAIN_MS : FETCH_FAILED_MS);
	for (; r != NULL; r = following) {
		struct evp_pkey_st *key = jwk_set_find(&jwks->set, r->key_id);

		following = r->sharing;
		if (replaced || (key != NULL && believed(jwks, now_ms)))
			(void)r->next.key(r, key);
		else
			(void)reply_problem(r, PROBLEM_PROVIDER_UNAVAILABLE, NULL);
	}
}
