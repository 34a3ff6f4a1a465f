/* token: our verifier held against libjwt, which signs; and what neither may let through. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jwt.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/base64url.h"
#include "common/config.h"
#include "server/sign_in/hs256.h"
#include "server/sign_in/token.h"
#include "test/unit/unit.h"

#define SECRET   "0123456789abcdef0123456789abcdef"
#define PREVIOUS "fedcba9876543210fedcba9876543210"
#define ID       "36e9a067-3a99-4b58-9da3-5fbc4ef160d1"

static struct token_keys *
keys_of(const char *secret, const char *previous)
{
	struct config config = { .auth_jwt_secret = secret, .auth_jwt_secret_previous = previous };

	return token_keys_new(&config);
}

/* "header.claims.signature" of these texts, signed by OpenSSL. free() it. */
static char *
token_of(const char *header, const char *claims, const char *secret)
{
	unsigned char signature[EVP_MAX_MD_SIZE];
	unsigned int signed_bytes;
	size_t room = BASE64URL_SIZE(strlen(header)) + BASE64URL_SIZE(strlen(claims)) + 64;
	char *token = malloc(room);
	size_t length;

	base64url_encode((const unsigned char *)header, strlen(header), token);
	length = strlen(token);
	token[length++] = '.';
	base64url_encode((const unsigned char *)claims, strlen(claims), token + length);
	length += strlen(token + length);
	HMAC(EVP_sha256(), secret, (int)strlen(secret), (unsigned char *)token, length, signature,
	    &signed_bytes);
	token[length++] = '.';
	base64url_encode(signature, signed_bytes, token + length);
	return token;
}

static enum token_state
verify_texts(const char *header, const char *claims, const char *secret)
{
	struct token_keys *keys = keys_of(SECRET, "");
	char *token = token_of(header, claims, secret);
	struct caller caller = { 0 };
	enum token_state state = token_verify(keys, token, &caller);

	free(token);
	token_keys_free(keys);
	return state;
}

#define HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define CLAIMS "{\"sub\":\"" ID "\",\"user_type\":\"mitra\",\"iat\":1,\"exp\":4102444800}"

TEST("HMAC by kept states is OpenSSL's, for secrets and texts of all lengths around the block")
{
	unsigned char text[300], ours[HS256_BYTES], theirs[EVP_MAX_MD_SIZE];
	char secret[200];

	memset(text, 'x', sizeof(text));
	memset(secret, 's', sizeof(secret));
	for (int length = 1; length < 200; length += 3) {
		struct hs256_key *key = hs256_key_new(secret, (size_t)length);

		for (size_t bytes = 0; bytes < sizeof(text); bytes += 7) {
			hs256_sign(key, text, bytes, ours);
			HMAC(EVP_sha256(), secret, length, text, bytes, theirs, NULL);
			if (!CHECK(memcmp(ours, theirs, HS256_BYTES) == 0))
				break;
		}
		hs256_key_free(key);
	}
}

TEST("what libjwt signs is verified, and the caller is who it says")
{
	struct token_keys *keys = keys_of(SECRET, "");
	struct caller caller = { .type = USER_OPERATOR, .role = OPERATOR_AGENT, .id = ID },
		      found = { 0 };
	char *token = token_issue(keys, &caller, 60);

	CHECK(token_verify(keys, token, &found) == TOKEN_VALID);
	CHECK(found.type == USER_OPERATOR && found.role == OPERATOR_AGENT);
	CHECK_TEXT(found.id, ID);
	CHECK_TEXT(found.session_id, "");
	free(token);
	token_keys_free(keys);
}

TEST("a token is accepted exactly if libjwt accepts its signature, whichever bit of it is turned")
{
	struct token_keys *keys = keys_of(SECRET, PREVIOUS);
	char *token = token_of(HEADER, CLAIMS, SECRET);

	for (size_t i = 0; i < strlen(token); i++) {
		struct caller caller = { 0 };
		jwt_t *jwt = NULL;
		bool theirs, ours;

		token[i] ^= 1;
		theirs = jwt_decode(
			     &jwt, token, (const unsigned char *)SECRET, (int)strlen(SECRET)) == 0;
		ours = token_verify(keys, token, &caller) == TOKEN_VALID;
		unit_about("byte %zu", i);
		/* base64url's last character has bits that stand for nothing: we refuse them, libjwt does not. */
		CHECK(ours == theirs || (!ours && i == strlen(token) - 1));
		jwt_free(jwt);
		token[i] ^= 1;
	}
	free(token);
	token_keys_free(keys);
}

TEST("the previous secret verifies, a foreign one does not")
{
	struct token_keys *keys = keys_of(SECRET, PREVIOUS);
	struct caller caller = { 0 };
	char *old = token_of(HEADER, CLAIMS, PREVIOUS),
	     *foreign = token_of(HEADER, CLAIMS, "another secret of 32 bytes length");

	CHECK(token_verify(keys, old, &caller) == TOKEN_VALID);
	CHECK(token_verify(keys, foreign, &caller) == TOKEN_INVALID);
	free(old);
	free(foreign);
	token_keys_free(keys);
}

TEST("a header must say HS256, whatever else it says, and nothing that is critical")
{
	CHECK(verify_texts("{\"typ\":\"JWT\",\"alg\":\"HS256\",\"kid\":\"1\"}", CLAIMS, SECRET) ==
	      TOKEN_VALID);
	CHECK(verify_texts("{\"alg\":\"none\"}", CLAIMS, SECRET) == TOKEN_INVALID);
	CHECK(verify_texts("{\"alg\":\"HS512\"}", CLAIMS, SECRET) == TOKEN_INVALID);
	CHECK(
	    verify_texts("{\"alg\":\"HS256\",\"alg\":\"none\"}", CLAIMS, SECRET) == TOKEN_INVALID);
	CHECK(verify_texts("{\"alg\":\"HS256\",\"crit\":[\"b64\"]}", CLAIMS, SECRET) ==
	      TOKEN_INVALID);
	CHECK(verify_texts("{}", CLAIMS, SECRET) == TOKEN_INVALID);
	CHECK(verify_texts("", CLAIMS, SECRET) == TOKEN_INVALID);
	CHECK(verify_texts("[]", CLAIMS, SECRET) == TOKEN_INVALID);
}

/* A good token but for its `exp`, which is that JSON; more claims may follow it. */
static enum token_state
expiring_at(const char *exp)
{
	char claims[256];

	snprintf(
	    claims, sizeof(claims), "{\"sub\":\"" ID "\",\"user_type\":\"mitra\",\"exp\":%s}", exp);
	return verify_texts(HEADER, claims, SECRET);
}

TEST("claims of the wrong type, or none, are no claims")
{
	CHECK(verify_texts(HEADER, CLAIMS, SECRET) == TOKEN_VALID);
	CHECK(verify_texts(HEADER, "", SECRET) == TOKEN_INVALID);
	CHECK(verify_texts(HEADER, "[]", SECRET) == TOKEN_INVALID);
	CHECK(expiring_at("\"4102444800\"") == TOKEN_INVALID);
	CHECK(expiring_at("true") == TOKEN_INVALID);
	CHECK(expiring_at("null") == TOKEN_INVALID);
	CHECK(expiring_at("[4102444800]") == TOKEN_INVALID);
}

TEST("times are numbers of seconds, whole or with a fraction")
{
	CHECK(expiring_at("4102444800") == TOKEN_VALID);
	CHECK(expiring_at("4102444800.25,\"iat\":1.5") == TOKEN_VALID);
	CHECK(expiring_at("4.1024448e9") == TOKEN_VALID);
	CHECK(expiring_at("1") == TOKEN_PAST);
	CHECK(expiring_at("1.5") == TOKEN_PAST);
	CHECK(expiring_at("1e300") == TOKEN_INVALID);
	CHECK(expiring_at("-1e300") == TOKEN_INVALID);
}

TEST("a token whose time has not come is none")
{
	CHECK(expiring_at("4102444800,\"nbf\":1") == TOKEN_VALID);
	CHECK(expiring_at("4102444800,\"nbf\":4102444799.5") == TOKEN_INVALID);
	CHECK(expiring_at("4102444800,\"nbf\":\"1\"") == TOKEN_INVALID);
}

TEST("what has no two dots, or a signature of another length, is refused before anything is parsed")
{
	static const char *const bad[] = { "", ".", "..", "a.b", "a.b.c", "a.b.c.d",
		"eyJhbGciOiJub25lIn0.e30." };
	struct token_keys *keys = keys_of(SECRET, "");
	struct caller caller = { 0 };
	char long_one[5 * 1024];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(token_verify(keys, bad[i], &caller) == TOKEN_INVALID);
	memset(long_one, 'a', sizeof(long_one));
	long_one[10] = long_one[20] = '.';
	long_one[sizeof(long_one) - 1] = '\0';
	CHECK(token_verify(keys, long_one, &caller) == TOKEN_INVALID);
	token_keys_free(keys);
}
