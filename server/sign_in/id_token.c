/* id_token: reads the three parts, checks the signature, then the claims. */
#include "server/sign_in/id_token.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "common/base64url.h"
#include "common/json.h"
#include "common/log.h"
#include "server/display_name.h"

#define CLOCKS_DIFFER_SECONDS 60  /* what may lie in the future because of that */
#define SUBJECT_LENGTH_MAX    255 /* OpenID Connect Core section 2 */
#define EMAIL_LENGTH_MAX      254

static const char *
text_claim(const struct json *object, const char *name)
{
	const struct json *claim = json_member(object, name);

	return claim == NULL || claim->type != JSON_STRING ? NULL : claim->text;
}

/* "crit" names extensions that one must understand, and we know none (RFC 7515 section 4.1.11). */
static bool
header_read(const struct json *header, struct id_token *token)
{
	const char *algorithm;

	if (header == NULL || json_member(header, "crit") != NULL)
		return false;
	algorithm = text_claim(header, "alg");
	token->key_id = text_claim(header, "kid");
	return algorithm != NULL && strcmp(algorithm, "RS256") == 0 && token->key_id != NULL;
}

bool
id_token_read(struct arena *arena, const char *text, struct id_token *token)
{
	const char *first = strchr(text, '.');
	const char *second = first == NULL ? NULL : strchr(first + 1, '.');
	unsigned char *signature;
	size_t length;

	*token = (struct id_token){ 0 };
	if (second == NULL || strchr(second + 1, '.') != NULL)
		return false;
	length = strlen(second + 1);
	signature = arena_alloc(arena, length + 1);
	token->signed_text = text;
	token->signed_length = (size_t)(second - text);
	token->signature = signature;
	if (!header_read(json_of_part(arena, text, (size_t)(first - text)), token) ||
	    !base64url_decode(second + 1, length, signature, &token->signature_length))
		return false;
	token->claims = json_of_part(arena, first + 1, (size_t)(second - first) - 1);
	return token->claims != NULL;
}

bool
id_token_signed_by(const struct id_token *token, struct evp_pkey_st *key)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool good;

	if (context == NULL)
		fatal("out of memory");
	/* PKCS #1 v1.5 is OpenSSL's default for RSA keys, and what RS256 means. */
	good = EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
	       EVP_DigestVerify(context, token->signature, token->signature_length,
		   (const unsigned char *)token->signed_text, token->signed_length) == 1;
	EVP_MD_CTX_free(context);
	return good;
}

/* Is `text` one of a comma-separated list? */
static bool
listed(const char *list, const char *text)
{
	size_t length = strlen(text);

	while (*list != '\0') {
		size_t begin = strspn(list, ", "), stop;

		list += begin;
		stop = strcspn(list, ", ");
		if (stop == length && length > 0 && strncmp(list, text, length) == 0)
			return true;
		list += stop;
	}
	return false;
}

/* `aud` is a text or a list of them; who asked for the token, `azp`, must be us as well, if it is said. */
static bool
meant_for_us(const struct json *claims, const char *client_ids)
{
	const struct json *audience = json_member(claims, "aud"), *party;
	bool found = false;

	if (audience == NULL)
		return false;
	if (audience->type == JSON_STRING)
		found = listed(client_ids, audience->text);
	if (audience->type == JSON_ARRAY)
		for (const struct json *one = audience->first; one != NULL; one = one->next)
			found |= one->type == JSON_STRING && listed(client_ids, one->text);
	party = json_member(claims, "azp");
	return found &&
	       (party == NULL || (party->type == JSON_STRING && listed(client_ids, party->text)));
}

static bool
nonce_matches(const char *claimed, const char *nonce)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char hex[2 * EVP_MAX_MD_SIZE + 1];
	unsigned int length;

	if (claimed == NULL)
		return false;
	if (strcmp(claimed, nonce) == 0)
		return true;
	if (!EVP_Digest(nonce, strlen(nonce), digest, &length, EVP_sha256(), NULL))
		fatal("OpenSSL has no SHA-256");
	for (unsigned int i = 0; i < length; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	return strcmp(claimed, hex) == 0;
}

/* Not said, or no later than now. */
static bool
has_begun(const struct json *claims, const char *name, int64_t now_seconds)
{
	const struct json *claim = json_member(claims, name);

	return claim == NULL || (claim->type == JSON_INTEGER &&
				    claim->integer <= now_seconds + CLOCKS_DIFFER_SECONDS);
}

const char *
id_token_fault(const struct id_token *token, const struct id_token_wanted *wanted)
{
	const struct json *claims = token->claims, *expires = json_member(claims, "exp");
	const char *issuer = text_claim(claims, "iss"), *subject = text_claim(claims, "sub");

	if (issuer == NULL || !listed(wanted->issuers, issuer))
		return "The ID token is of another issuer.";
	if (!meant_for_us(claims, wanted->client_ids))
		return "The ID token is for another app.";
	if (expires == NULL || expires->type != JSON_INTEGER ||
	    expires->integer <= wanted->now_seconds)
		return "The ID token has expired.";
	if (!has_begun(claims, "iat", wanted->now_seconds) ||
	    !has_begun(claims, "nbf", wanted->now_seconds))
		return "The ID token is from the future.";
	if (!nonce_matches(text_claim(claims, "nonce"), wanted->nonce))
		return "The ID token was made with another nonce.";
	if (subject == NULL || subject[0] == '\0' || strlen(subject) > SUBJECT_LENGTH_MAX)
		return "The ID token does not say who it is about.";
	return NULL;
}

const char *
id_token_subject(const struct id_token *token)
{
	return text_claim(token->claims, "sub");
}

/* Apple writes "true" as a text. */
const char *
id_token_email(const struct id_token *token)
{
	const struct json *verified = json_member(token->claims, "email_verified");
	const char *email = text_claim(token->claims, "email");
	bool is_verified = verified != NULL && (verified->type == JSON_BOOLEAN
						       ? verified->boolean
						       : verified->type == JSON_STRING &&
							     strcmp(verified->text, "true") == 0);

	return is_verified && email != NULL && strlen(email) <= EMAIL_LENGTH_MAX ? email : NULL;
}

const char *
id_token_name(struct arena *arena, const struct id_token *token)
{
	const char *name = text_claim(token->claims, "name"), *fault;

	return name == NULL ? NULL : display_name_read(arena, name, strlen(name), &fault);
}
