/*
 * password: scrypt by OpenSSL, and the text form around it.
 *
 * What is derived from a password is wiped before it goes out of scope; the password itself is the caller's.
 */
#include "common/password.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#define SALT_BYTES     16
#define KEY_BYTES      32
/* Base64 of n bytes, padded, with a NUL: 4 characters for every 3 bytes begun. */
#define BASE64_SIZE(n) (((n) + 2) / 3 * 4 + 1)

/* What password_verify() accepts: a hand-made row shall not take the machine's memory. */
#define LOG_N_MAX        20
#define R_MAX            32
#define P_MAX            8
#define MEMORY_BYTES_MAX (UINT64_C(320) << 20)

struct scrypt {
	unsigned log_n, r, p;
	unsigned char salt[SALT_BYTES];
};

static bool
derive(const char *password, const struct scrypt *how, unsigned char key[KEY_BYTES])
{
	return EVP_PBE_scrypt(password, strlen(password), how->salt, SALT_BYTES,
		   UINT64_C(1) << how->log_n, how->r, how->p, MEMORY_BYTES_MAX, key,
		   KEY_BYTES) == 1;
}

/* As OpenSSL counts it, before it asks for it. */
static uint64_t
memory_bytes(const struct scrypt *how)
{
	return UINT64_C(128) * how->r * ((UINT64_C(1) << how->log_n) + 2 + how->p);
}

static void
base64_write(const unsigned char *bytes, int count, char *text)
{
	EVP_EncodeBlock((unsigned char *)text, bytes, count);
	text[strcspn(text, "=")] = '\0';
}

/* Exactly that many bytes from exactly so many characters, else false. */
static bool
base64_read(const char *text, unsigned char *bytes, int count)
{
	char padded[BASE64_SIZE(KEY_BYTES)];
	unsigned char decoded[BASE64_SIZE(KEY_BYTES)];
	size_t size = BASE64_SIZE(count) - 1;
	size_t length = strlen(text);

	if (length != (size_t)(count * 8 + 5) / 6)
		return false;
	memset(padded, '=', size);
	memcpy(padded, text, length);
	if (EVP_DecodeBlock(decoded, (unsigned char *)padded, (int)size) < count)
		return false;
	memcpy(bytes, decoded, (size_t)count);
	OPENSSL_cleanse(decoded, sizeof(decoded));
	return true;
}

bool
password_hash(const char *password, char text[PASSWORD_HASH_SIZE])
{
	struct scrypt how = { .log_n = 17, .r = 8, .p = 1 };
	unsigned char key[KEY_BYTES];
	char salt[BASE64_SIZE(SALT_BYTES)], hash[BASE64_SIZE(KEY_BYTES)];

	if (RAND_bytes(how.salt, SALT_BYTES) != 1 || !derive(password, &how, key))
		return false;
	base64_write(how.salt, SALT_BYTES, salt);
	base64_write(key, KEY_BYTES, hash);
	snprintf(text, PASSWORD_HASH_SIZE, "$scrypt$ln=%u,r=%u,p=%u$%s$%s", how.log_n, how.r, how.p,
	    salt, hash);
	OPENSSL_cleanse(key, sizeof(key));
	return true;
}

static bool
parse(const char *text, struct scrypt *how, unsigned char key[KEY_BYTES])
{
	char salt[BASE64_SIZE(SALT_BYTES)], hash[BASE64_SIZE(KEY_BYTES)];
	int end = 0;

	if (sscanf(text, "$scrypt$ln=%2u,r=%2u,p=%2u$%24[^$]$%44[^$]%n", &how->log_n, &how->r,
		&how->p, salt, hash, &end) != 5 ||
	    text[end] != '\0')
		return false;
	if (how->log_n < 1 || how->log_n > LOG_N_MAX || how->r < 1 || how->r > R_MAX ||
	    how->p < 1 || how->p > P_MAX || memory_bytes(how) > MEMORY_BYTES_MAX)
		return false;
	return base64_read(salt, how->salt, SALT_BYTES) && base64_read(hash, key, KEY_BYTES);
}

enum password_verdict
password_verify(const char *password, const char *text)
{
	/* Nobody's hash; the parameters are what costs the time. */
	struct scrypt how = { .log_n = 17, .r = 8, .p = 1 };
	unsigned char wanted[KEY_BYTES] = { 0 }, got[KEY_BYTES];
	bool known = text != NULL;
	bool same;

	if (known && !parse(text, &how, wanted))
		return PASSWORD_WRONG;
	if (!derive(password, &how, got))
		return PASSWORD_UNDECIDED;
	same = CRYPTO_memcmp(wanted, got, KEY_BYTES) == 0;
	OPENSSL_cleanse(got, sizeof(got));
	OPENSSL_cleanse(wanted, sizeof(wanted));
	return known && same ? PASSWORD_RIGHT : PASSWORD_WRONG;
}
