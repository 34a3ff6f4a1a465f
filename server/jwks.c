/* jwks: one set of keys, replaced as a whole by each fetch that brings a usable one. */
#include "server/jwks.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include "common/base64url.h"
#include "common/clock.h"
#include "common/http_client.h"
#include "common/json.h"
#include "common/log.h"
#include "server/reply.h"
#include "server/request.h"

#define KEYS_MAX          32
#define KEY_ID_LENGTH_MAX 255
#define MODULUS_LEAST     256 /* bytes: RFC 7518 asks for 2048 bits */
#define MODULUS_MOST      1024

#define FETCH_TIMEOUT_MS  5000
#define FETCH_AGAIN_MS    60000 /* after a fetch that went well */
#define FETCH_FAILED_MS   2000  /* after one that did not */
#define FRESH_LEAST_MS    60000
#define FRESH_MOST_MS     86400000
#define FRESH_UNTOLD_MS   300000 /* the provider does not say how long */
#define STALE_BELIEVED_MS 3600000

struct jwk {
	char *id;
	EVP_PKEY *key;
};

struct jwks {
	struct worker *worker;
	const char *url;
	struct jwk keys[KEYS_MAX];
	size_t count;
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

static void
keys_free(struct jwk *keys, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(keys[i].id);
		EVP_PKEY_free(keys[i].key);
	}
}

void
jwks_free(struct jwks *jwks)
{
	keys_free(jwks->keys, jwks->count);
	free(jwks);
}

/* ---------------------------------------------------------------- reading a set */

static const char *
text_member(const struct json *object, const char *name)
{
	const struct json *member = json_member(object, name);

	return member == NULL || member->type != JSON_STRING ? NULL : member->text;
}

static BIGNUM *
number_member(const struct json *object, const char *name)
{
	const char *text = text_member(object, name);
	unsigned char bytes[MODULUS_MOST];
	size_t count;

	if (text == NULL || strlen(text) >= BASE64URL_SIZE(MODULUS_MOST) ||
	    !base64url_decode(text, strlen(text), bytes, &count))
		return NULL;
	return BN_bin2bn(bytes, (int)count, NULL);
}

/* The public key of these two numbers; NULL if OpenSSL does not make one of them. */
static EVP_PKEY *
key_of(const BIGNUM *modulus, const BIGNUM *exponent)
{
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	OSSL_PARAM *parameters = NULL;
	EVP_PKEY *key = NULL;

	if (build == NULL || context == NULL)
		fatal("OpenSSL has no RSA");
	if (OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent))
		parameters = OSSL_PARAM_BLD_to_param(build);
	if (parameters == NULL || EVP_PKEY_fromdata_init(context) <= 0 ||
	    EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) <= 0)
		key = NULL;
	OSSL_PARAM_free(parameters);
	OSSL_PARAM_BLD_free(build);
	EVP_PKEY_CTX_free(context);
	return key;
}

static EVP_PKEY *
rsa_key_of(const struct json *jwk)
{
	BIGNUM *modulus = number_member(jwk, "n"), *exponent = number_member(jwk, "e");
	EVP_PKEY *key = NULL;

	if (modulus != NULL && exponent != NULL && BN_num_bytes(modulus) >= MODULUS_LEAST &&
	    BN_is_odd(exponent) && !BN_is_one(exponent) && BN_num_bits(exponent) <= 64)
		key = key_of(modulus, exponent);
	BN_free(modulus);
	BN_free(exponent);
	return key;
}

static bool
text_is(const char *text, const char *wanted)
{
	return text != NULL && strcmp(text, wanted) == 0;
}

/* Keys for other purposes and of other kinds stand in such sets too; they are skipped. */
static bool
jwk_read(const struct json *jwk, struct jwk *key)
{
	const char *id, *use, *algorithm;

	if (jwk->type != JSON_OBJECT)
		return false;
	id = text_member(jwk, "kid");
	use = text_member(jwk, "use");
	algorithm = text_member(jwk, "alg");
	if (!text_is(text_member(jwk, "kty"), "RSA") || id == NULL ||
	    strlen(id) > KEY_ID_LENGTH_MAX || (use != NULL && !text_is(use, "sig")) ||
	    (algorithm != NULL && !text_is(algorithm, "RS256")))
		return false;
	key->key = rsa_key_of(jwk);
	if (key->key == NULL)
		return false;
	key->id = strdup(id);
	if (key->id == NULL)
		fatal("out of memory");
	return true;
}

/* How many usable keys the document holds. */
static size_t
set_read(const char *text, size_t length, struct jwk keys[KEYS_MAX])
{
	struct arena arena = { 0 };
	const char *error;
	const struct json *set = json_parse(&arena, text, length, &error);
	const struct json *list = set == NULL || set->type != JSON_OBJECT
				      ? NULL
				      : json_member(set, "keys");
	size_t count = 0;

	if (list != NULL && list->type == JSON_ARRAY)
		for (const struct json *jwk = list->first; jwk != NULL && count < KEYS_MAX;
		     jwk = jwk->next)
			count += jwk_read(jwk, &keys[count]);
	arena_free(&arena);
	return count;
}

/* max-age, within our bounds (RFC 9111 section 5.2.2.1). */
static int64_t
freshness_of(const char *cache_control)
{
	const char *found = strcasestr(cache_control, "max-age=");
	int64_t ms = found == NULL ? FRESH_UNTOLD_MS
				   : (int64_t)strtoul(found + strlen("max-age="), NULL, 10) * 1000;

	return ms < FRESH_LEAST_MS ? FRESH_LEAST_MS : ms > FRESH_MOST_MS ? FRESH_MOST_MS : ms;
}

/* ---------------------------------------------------------------- finding and fetching */

static EVP_PKEY *
key_by_id(const struct jwks *jwks, const char *id)
{
	for (size_t i = 0; i < jwks->count; i++)
		if (strcmp(jwks->keys[i].id, id) == 0)
			return jwks->keys[i].key;
	return NULL;
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
	return jwks->count > 0 && now_ms < jwks->fresh_until_ms + STALE_BELIEVED_MS;
}

outcome
jwks_find(struct request *r, struct jwks *jwks, const char *key_id, key_fn *next)
{
	int64_t now_ms = clock_monotonic_ms();
	EVP_PKEY *key = key_by_id(jwks, key_id);
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
	struct jwk keys[KEYS_MAX];
	size_t count = answer->status == 200 ? set_read(answer->body, answer->length, keys) : 0;

	if (count == 0)
		return false;
	keys_free(jwks->keys, jwks->count);
	memcpy(jwks->keys, keys, count * sizeof(keys[0]));
	jwks->count = count;
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

	if (!replaced)
		log_warning("[identity] no keys from %s: %s", jwks->url,
		    error != NULL ? error : "the answer has none");
	jwks->fetching = false;
	jwks->waiting = NULL;
	jwks->fetch_from_ms = now_ms + (replaced ? FETCH_AGAIN_MS : FETCH_FAILED_MS);
	for (; r != NULL; r = following) {
		EVP_PKEY *key = key_by_id(jwks, r->key_id);

		following = r->sharing;
		if (replaced || (key != NULL && believed(jwks, now_ms)))
			(void)r->next.key(r, key);
		else
			(void)reply_problem(r, PROBLEM_PROVIDER_UNAVAILABLE, NULL);
	}
}
