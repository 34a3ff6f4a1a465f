/* refresh_token: see the header for why so. */
#include "server/sign_in/refresh_token.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/base64url.h"
#include "common/log.h"

#define BYTES 32

static void
random_text(char text[REFRESH_TOKEN_SIZE])
{
	unsigned char bytes[BYTES];

	if (getentropy(bytes, sizeof(bytes)) != 0)
		fatal("the kernel gives no random bytes");
	base64url_encode(bytes, sizeof(bytes), text);
	explicit_bzero(bytes, sizeof(bytes));
}

void
refresh_token_new(struct refresh_token *token)
{
	random_text(token->text);
	refresh_token_hash(token->text, token->hash);
}

void
refresh_token_salt(char salt[REFRESH_TOKEN_SIZE])
{
	random_text(salt);
}

void
refresh_token_successor(const char *text, const char *salt, struct refresh_token *successor)
{
	unsigned char bytes[BYTES];
	unsigned int length = sizeof(bytes);

	if (HMAC(EVP_sha256(), text, (int)strlen(text), (const unsigned char *)salt, strlen(salt),
		bytes, &length) == NULL)
		fatal("OpenSSL has no HMAC");
	base64url_encode(bytes, sizeof(bytes), successor->text);
	refresh_token_hash(successor->text, successor->hash);
	explicit_bzero(bytes, sizeof(bytes));
}

void
refresh_token_hash(const char *text, char hash[REFRESH_HASH_SIZE])
{
	unsigned char digest[BYTES];
	unsigned int length = sizeof(digest);

	if (!EVP_Digest(text, strlen(text), digest, &length, EVP_sha256(), NULL))
		fatal("OpenSSL has no SHA-256");
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(hash + 2 * i, 3, "%02x", digest[i]);
}
