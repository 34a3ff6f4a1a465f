/* jwk_set: takes the RSA keys for signatures out of a document, and skips everything else that may stand there. */
#include "server/sign_in/jwk_set.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include "common/base64url.h"
#include "common/json.h"
#include "common/log.h"

#define KEY_ID_LENGTH_MAX 255
#define MODULUS_LEAST     256 /* bytes: RFC 7518 asks for 2048 bits */
#define MODULUS_MOST      1024

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

void
jwk_set_read(struct jwk_set *set, const char *text, size_t length)
{
	struct arena arena = { 0 };
	const char *error;
	const struct json *document = json_parse(&arena, text, length, &error);
	const struct json *list = document == NULL || document->type != JSON_OBJECT
				      ? NULL
				      : json_member(document, "keys");

	set->count = 0;
	if (list != NULL && list->type == JSON_ARRAY)
		for (const struct json *jwk = list->first;
		     jwk != NULL && set->count < JWK_SET_KEYS_MAX; jwk = jwk->next)
			set->count += jwk_read(jwk, &set->keys[set->count]);
	arena_free(&arena);
}

void
jwk_set_clear(struct jwk_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		free(set->keys[i].id);
		EVP_PKEY_free(set->keys[i].key);
	}
	set->count = 0;
}

struct evp_pkey_st *
jwk_set_find(const struct jwk_set *set, const char *id)
{
	for (size_t i = 0; i < set->count; i++)
		if (strcmp(set->keys[i].id, id) == 0)
			return set->keys[i].key;
	return NULL;
}
