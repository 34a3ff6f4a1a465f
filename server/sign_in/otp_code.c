/* otp_code: see the header. */
#include "server/sign_in/otp_code.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/config.h"
#include "common/log.h"
#include "server/request.h"

#define CODES     1000000U
#define HASH_SIZE 65

void
otp_code_new(char code[OTP_CODE_SIZE])
{
	uint32_t number;

	/* Numbers of the last, incomplete million are drawn again, or the lower codes would be likelier. */
	do {
		if (getentropy(&number, sizeof(number)) != 0)
			fatal("the kernel gives no random bytes");
	} while (number >= UINT32_MAX - UINT32_MAX % CODES);
	snprintf(code, OTP_CODE_SIZE, "%06u", number % CODES);
}

static const char *
hash_by(struct request *r, const char *secret, const char *otp_request_id, const char *code)
{
	const char *text = arena_printf(&r->arena, "otp:%s:%s", otp_request_id, code);
	unsigned char digest[EVP_MAX_MD_SIZE];
	char *hash = arena_alloc(&r->arena, HASH_SIZE);
	unsigned int length;

	if (HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)text,
		strlen(text), digest, &length) == NULL)
		fatal("OpenSSL has no HMAC");
	for (unsigned int i = 0; i < length; i++)
		snprintf(hash + 2 * i, 3, "%02x", digest[i]);
	return hash;
}

const char *
otp_code_hash(struct request *r, const char *otp_request_id, const char *code)
{
	return hash_by(r, r->worker->config->auth_jwt_secret, otp_request_id, code);
}

const char *
otp_code_hashes(struct request *r, const char *otp_request_id, const char *code)
{
	const char *current = otp_code_hash(r, otp_request_id, code);
	const char *previous = r->worker->config->auth_jwt_secret_previous;

	if (previous[0] == '\0')
		return arena_printf(&r->arena, "{%s}", current);
	return arena_printf(
	    &r->arena, "{%s,%s}", current, hash_by(r, previous, otp_request_id, code));
}
