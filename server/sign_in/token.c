/*
 * token: libjwt issues tokens; verifying them, which every request pays, is done here.
 *
 * What was found with libjwt 1.10.2: an empty key accepts any token; one that says HS512 passes with the
 * HS256 secret; `exp` is not looked at; and setting up the key costs more than all the rest of a heartbeat.
 * Here the order is: length, shape, signature by a kept key (hs256.h), then the header, which must say
 * HS256, then the claims.  So nothing of a foreign token is parsed but its dots.  test_token.c holds the two
 * against each other.
 */
#include "server/sign_in/token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jwt.h>
#include <openssl/crypto.h>

#include "common/base64url.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/json.h"
#include "common/log.h"
#include "server/sign_in/hs256.h"

#define TOKEN_LENGTH_MAX  4096
#define SECRET_LEAST      32
#define SIGNATURE_LENGTH  43                 /* of 32 bytes in base64url */
#define TTL_MOST_SECONDS  (10 * 366 * 86400) /* of a token made by hand */
#define TIME_MOST_SECONDS 0x1p53             /* beyond it doubles skip seconds */

struct token_keys {
	char *secret; /* for libjwt */
	struct hs256_key *current;
	struct hs256_key *previous; /* NULL: there is none */
};

static struct hs256_key *
key_of(const char *secret)
{
	if (*secret == '\0')
		return NULL;
	if (strlen(secret) < SECRET_LEAST)
		fatal_configuration("a token secret is shorter than %d bytes", SECRET_LEAST);
	return hs256_key_new(secret, strlen(secret));
}

struct token_keys *
token_keys_new(const struct config *config)
{
	struct token_keys *keys = calloc(1, sizeof(*keys));

	if (keys == NULL || (keys->secret = strdup(config->auth_jwt_secret)) == NULL)
		fatal("out of memory");
	keys->current = key_of(config->auth_jwt_secret);
	keys->previous = key_of(config->auth_jwt_secret_previous);
	if (keys->current == NULL)
		fatal_configuration("AUTH_JWT_SECRET is empty");
	return keys;
}

void
token_keys_free(struct token_keys *keys)
{
	hs256_key_free(keys->current);
	hs256_key_free(keys->previous);
	OPENSSL_cleanse(keys->secret, strlen(keys->secret));
	free(keys->secret);
	free(keys);
}

/* The parts of "header.claims.signature", still in base64url. */
struct parts {
	const char *header, *claims, *signature;
	size_t header_length, claims_length, signature_length;
};

static bool
split(const char *token, struct parts *parts)
{
	const char *first = strchr(token, '.');
	const char *second = first == NULL ? NULL : strchr(first + 1, '.');

	if (second == NULL || strlen(token) > TOKEN_LENGTH_MAX)
		return false;
	*parts = (struct parts){ token, first + 1, second + 1, (size_t)(first - token),
		(size_t)(second - first - 1), strlen(second + 1) };
	return parts->signature_length == SIGNATURE_LENGTH;
}

static bool
signed_by(const struct hs256_key *key, const struct parts *parts, const unsigned char *signature)
{
	unsigned char expected[HS256_BYTES];

	if (key == NULL)
		return false;
	hs256_sign(key, parts->header, parts->header_length + 1 + parts->claims_length, expected);
	return CRYPTO_memcmp(expected, signature, HS256_BYTES) == 0;
}

static bool
signature_is_good(const struct token_keys *keys, const struct parts *parts)
{
	unsigned char signature[SIGNATURE_LENGTH];
	size_t bytes;

	if (!base64url_decode(parts->signature, parts->signature_length, signature, &bytes) ||
	    bytes != HS256_BYTES)
		return false;
	return signed_by(keys->current, parts, signature) ||
	       signed_by(keys->previous, parts, signature);
}

static bool
claim_is(const struct json *claims, const char *name, const char *value)
{
	const struct json *claim = json_member(claims, name);

	return claim != NULL && claim->type == JSON_STRING && strcmp(claim->text, value) == 0;
}

/* A claim that holds a UUID; `id` is "" if it is not there and need not be. */
static bool
claim_uuid(const struct json *claims, const char *name, bool required, char id[UUID_SIZE])
{
	const struct json *claim = json_member(claims, name);

	id[0] = '\0';
	if (claim == NULL)
		return !required;
	return claim->type == JSON_STRING && uuid_parse(claim->text, claim->length, id);
}

static enum user_type
user_type_of(const struct json *claims)
{
	if (claim_is(claims, "user_type", "mitra"))
		return USER_MITRA;
	if (claim_is(claims, "user_type", "customer"))
		return USER_CUSTOMER;
	if (claim_is(claims, "user_type", "operator"))
		return USER_OPERATOR;
	return USER_NONE;
}

static enum operator_role
role_of(const struct json *claims)
{
	if (claim_is(claims, "role", "admin"))
		return OPERATOR_ADMIN;
	if (claim_is(claims, "role", "agent"))
		return OPERATOR_AGENT;
	return OPERATOR_NOT;
}

/* `crit` names extensions that must be understood, and we understand none (RFC 7515 section 4.1.11). */
static bool
header_is_ours(struct arena *arena, const struct parts *parts)
{
	static const char usual[] =
	    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"; /* {"alg":"HS256","typ":"JWT"} */
	const struct json *header;

	if (parts->header_length == strlen(usual) &&
	    memcmp(parts->header, usual, strlen(usual)) == 0)
		return true;
	header = json_of_part(arena, parts->header, parts->header_length);
	return header != NULL && claim_is(header, "alg", "HS256") &&
	       json_member(header, "crit") == NULL;
}

/*
 * A claim that holds a time: seconds since 1970, maybe with a fraction (RFC 7519 section 2).  `*ms` is 0 if it
 * is not there and need not be.
 */
static bool
claim_time(const struct json *claims, const char *name, bool required, double *ms)
{
	const struct json *claim = json_member(claims, name);

	*ms = 0;
	if (claim == NULL)
		return !required;
	if ((claim->type != JSON_INTEGER && claim->type != JSON_DOUBLE) ||
	    claim->number < -TIME_MOST_SECONDS || claim->number > TIME_MOST_SECONDS)
		return false;
	*ms = claim->number * 1000;
	return true;
}

static enum token_state
times_check(const struct json *claims)
{
	double now_ms = (double)clock_wall_ms(), expires_ms, issued_ms, not_before_ms;

	if (!claim_time(claims, "exp", true, &expires_ms) ||
	    !claim_time(claims, "iat", false, &issued_ms) ||
	    !claim_time(claims, "nbf", false, &not_before_ms))
		return TOKEN_INVALID;
	if (expires_ms <= now_ms)
		return TOKEN_PAST;
	return not_before_ms <= now_ms ? TOKEN_VALID : TOKEN_INVALID;
}

static enum token_state
claims_check(const struct json *claims, struct caller *caller)
{
	enum token_state state = times_check(claims);
	struct caller found = { .type = user_type_of(claims), .role = role_of(claims) };

	if (found.type == USER_NONE || (found.type == USER_OPERATOR && found.role == OPERATOR_NOT))
		return TOKEN_INVALID;
	if (!claim_uuid(claims, "sub", true, found.id) ||
	    !claim_uuid(claims, "session_id", false, found.session_id))
		return TOKEN_INVALID;
	if (state == TOKEN_VALID)
		*caller = found;
	return state;
}

enum token_state
token_verify(const struct token_keys *keys, const char *token, struct caller *caller)
{
	enum token_state state = TOKEN_INVALID;
	struct arena arena = { 0 };
	const struct json *claims;
	struct parts parts;

	if (!split(token, &parts) || !signature_is_good(keys, &parts))
		return TOKEN_INVALID;
	claims = json_of_part(&arena, parts.claims, parts.claims_length);
	if (claims != NULL && header_is_ours(&arena, &parts))
		state = claims_check(claims, caller);
	arena_free(&arena);
	return state;
}

static const char *const user_type_names[] = {
	[USER_NONE] = "",
	[USER_MITRA] = "mitra",
	[USER_CUSTOMER] = "customer",
	[USER_OPERATOR] = "operator",
};

char *
token_issue(const struct token_keys *keys, const struct caller *caller, long ttl_seconds)
{
	long now = (long)(clock_wall_ms() / 1000);
	char *token = NULL;
	jwt_t *jwt;

	if (jwt_new(&jwt) != 0)
		fatal("out of memory");
	jwt_add_grant(jwt, "sub", caller->id);
	jwt_add_grant(jwt, "user_type", user_type_names[caller->type]);
	if (caller->session_id[0] != '\0')
		jwt_add_grant(jwt, "session_id", caller->session_id);
	if (caller->type == USER_OPERATOR)
		jwt_add_grant(jwt, "role", caller->role == OPERATOR_ADMIN ? "admin" : "agent");
	jwt_add_grant_int(jwt, "iat", now);
	jwt_add_grant_int(jwt, "exp", now + ttl_seconds);
	if (jwt_set_alg(
		jwt, JWT_ALG_HS256, (unsigned char *)keys->secret, (int)strlen(keys->secret)) == 0)
		token = jwt_encode_str(jwt);
	jwt_free(jwt);
	if (token == NULL)
		fatal("a token could not be signed");
	return token;
}

/* Whom the word on the command line stands for; operators go by their role. */
static bool
caller_by_word(const char *word, struct caller *caller)
{
	if (strcmp(word, "mitra") == 0)
		caller->type = USER_MITRA;
	else if (strcmp(word, "customer") == 0)
		caller->type = USER_CUSTOMER;
	else if (strcmp(word, "admin") == 0 || strcmp(word, "agent") == 0)
		caller->type = USER_OPERATOR;
	else
		return false;
	caller->role = strcmp(word, "admin") == 0 ? OPERATOR_ADMIN : OPERATOR_AGENT;
	return true;
}

static bool
ttl_argument(const char *text, long *ttl_seconds)
{
	char *end;
	long number = strtol(text, &end, 10);

	if (end == text || *end != '\0' || number < 1 || number > TTL_MOST_SECONDS)
		return false;
	*ttl_seconds = number;
	return true;
}

static bool
token_arguments(int count, char *const *arguments, struct caller *caller, long *ttl_seconds)
{
	if (count < 2 || !caller_by_word(arguments[0], caller) ||
	    !uuid_parse(arguments[1], strlen(arguments[1]), caller->id))
		return false;
	for (int i = 2; i < count; i += 2) {
		const char *value = i + 1 < count ? arguments[i + 1] : "";

		if (strcmp(arguments[i], "--ttl") == 0 && ttl_argument(value, ttl_seconds))
			continue;
		if (strcmp(arguments[i], "--session") != 0 ||
		    !uuid_parse(value, strlen(value), caller->session_id))
			return false;
	}
	return true;
}

int
token_command(const struct config *config, int count, char *const *arguments)
{
	long ttl_seconds = config->access_token_ttl_seconds;
	struct caller caller = { 0 };
	struct token_keys *keys;
	char *token;

	if (!token_arguments(count, arguments, &caller, &ttl_seconds)) {
		fputs("usage: mitrad token mitra|customer|admin|agent ID [--session UUID] [--ttl "
		      "SECONDS]\n",
		    stderr);
		return 2;
	}
	keys = token_keys_new(config);
	token = token_issue(keys, &caller, ttl_seconds);
	puts(token);
	free(token);
	token_keys_free(keys);
	return 0;
}
