/*
 * token: libjwt signs and checks signatures, the rules about the claims are ours.
 *
 * What was found with libjwt 1.10.2 and is closed here: an empty key accepts any token (so short
 * secrets end the program at start); a token that says HS512 passes with the HS256 secret (so the
 * algorithm is compared after decoding); `exp` is not looked at; nothing bounds the length.
 */
#include "server/token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jwt.h>
#include <openssl/crypto.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/json.h"
#include "common/log.h"

#define TOKEN_LENGTH_MAX 4096
#define SECRET_LEAST     32
#define TTL_MOST_SECONDS (10 * 366 * 86400) /* of a token made by hand */

struct token_key {
	unsigned char *bytes; /* NULL: there is none */
	int length;
};

struct token_keys {
	struct token_key current, previous;
};

static struct token_key
key_copy(const char *secret)
{
	struct token_key key = { .length = (int)strlen(secret) };

	if (key.length == 0)
		return key;
	if (key.length < SECRET_LEAST)
		fatal_configuration("a token secret is shorter than %d bytes", SECRET_LEAST);
	key.bytes = (unsigned char *)strdup(secret);
	if (key.bytes == NULL)
		fatal("out of memory");
	return key;
}

static void
key_wipe(struct token_key *key)
{
	if (key->bytes != NULL)
		OPENSSL_cleanse(key->bytes, (size_t)key->length);
	free(key->bytes);
}

struct token_keys *
token_keys_new(const struct config *config)
{
	struct token_keys *keys = calloc(1, sizeof(*keys));

	if (keys == NULL)
		fatal("out of memory");
	keys->current = key_copy(config->auth_jwt_secret);
	keys->previous = key_copy(config->auth_jwt_secret_previous);
	if (keys->current.bytes == NULL)
		fatal_configuration("AUTH_JWT_SECRET is empty");
	return keys;
}

void
token_keys_free(struct token_keys *keys)
{
	key_wipe(&keys->current);
	key_wipe(&keys->previous);
	free(keys);
}

/* The decoded token if its signature is good by this key, else NULL. */
static jwt_t *
decode(const struct token_key *key, const char *token)
{
	jwt_t *jwt = NULL;

	if (key->bytes == NULL || jwt_decode(&jwt, token, key->bytes, key->length) != 0)
		return NULL;
	if (jwt_get_alg(jwt) == JWT_ALG_HS256)
		return jwt;
	jwt_free(jwt);
	return NULL;
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

static enum token_state
claims_check(const struct json *claims, struct caller *caller)
{
	const struct json *expires = json_member(claims, "exp"),
			  *issued = json_member(claims, "iat");
	struct caller found = { .type = user_type_of(claims), .role = role_of(claims) };

	if (found.type == USER_NONE || (found.type == USER_OPERATOR && found.role == OPERATOR_NOT))
		return TOKEN_INVALID;
	if (!claim_uuid(claims, "sub", true, found.id) ||
	    !claim_uuid(claims, "session_id", false, found.session_id))
		return TOKEN_INVALID;
	if (expires == NULL || expires->type != JSON_INTEGER ||
	    (issued != NULL && issued->type != JSON_INTEGER))
		return TOKEN_INVALID;
	if (expires->integer <= clock_wall_ms() / 1000)
		return TOKEN_PAST;
	*caller = found;
	return TOKEN_VALID;
}

enum token_state
token_verify(const struct token_keys *keys, const char *token, struct caller *caller)
{
	enum token_state state = TOKEN_INVALID;
	struct arena arena = { 0 };
	const struct json *claims;
	const char *error;
	char *text;
	jwt_t *jwt;

	if (strlen(token) > TOKEN_LENGTH_MAX)
		return TOKEN_INVALID;
	jwt = decode(&keys->current, token);
	if (jwt == NULL)
		jwt = decode(&keys->previous, token);
	if (jwt == NULL)
		return TOKEN_INVALID;
	text = jwt_get_grants_json(jwt, NULL);
	claims = text == NULL ? NULL : json_parse(&arena, text, strlen(text), &error);
	if (claims != NULL && claims->type == JSON_OBJECT)
		state = claims_check(claims, caller);
	arena_free(&arena);
	free(text);
	jwt_free(jwt);
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
	if (jwt_set_alg(jwt, JWT_ALG_HS256, keys->current.bytes, keys->current.length) == 0)
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
