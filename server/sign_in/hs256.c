/*
 * hs256: SHA256_Init() and its kin are deprecated since OpenSSL 3.0, but are there up to 3.5; only they
 * give us a hash state that is a plain struct, to be copied without allocating.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "server/sign_in/hs256.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "common/log.h"

#define BLOCK_BYTES 64 /* of SHA-256 */

struct hs256_key {
	SHA256_CTX inner, outer; /* after one block each: the key xor ipad, xor opad */
};

static void
state_after(SHA256_CTX *state, const unsigned char key[BLOCK_BYTES], unsigned char pad)
{
	unsigned char block[BLOCK_BYTES];

	for (size_t i = 0; i < BLOCK_BYTES; i++)
		block[i] = key[i] ^ pad;
	SHA256_Init(state);
	SHA256_Update(state, block, BLOCK_BYTES);
	OPENSSL_cleanse(block, sizeof(block));
}

struct hs256_key *
hs256_key_new(const void *secret, size_t bytes)
{
	struct hs256_key *key = malloc(sizeof(*key));
	unsigned char padded[BLOCK_BYTES] = { 0 };

	if (key == NULL)
		fatal("out of memory");
	if (bytes > BLOCK_BYTES)
		SHA256(secret, bytes, padded);
	else
		memcpy(padded, secret, bytes);
	state_after(&key->inner, padded, 0x36);
	state_after(&key->outer, padded, 0x5c);
	OPENSSL_cleanse(padded, sizeof(padded));
	return key;
}

void
hs256_key_free(struct hs256_key *key)
{
	if (key == NULL)
		return;
	OPENSSL_cleanse(key, sizeof(*key));
	free(key);
}

void
hs256_sign(const struct hs256_key *key, const void *text, size_t bytes,
    unsigned char signature[HS256_BYTES])
{
	SHA256_CTX state = key->inner;
	unsigned char digest[HS256_BYTES];

	SHA256_Update(&state, text, bytes);
	SHA256_Final(digest, &state);
	state = key->outer;
	SHA256_Update(&state, digest, sizeof(digest));
	SHA256_Final(signature, &state);
}
