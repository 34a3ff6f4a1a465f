/*
 * fuzz_id_token: any bytes to id_token_read(), and whatever claims it finds to id_token_fault().
 *
 * What is read must have a key id, claims and a signature; what has no fault must have a subject.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "server/sign_in/id_token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static void
check(struct arena *arena, const struct id_token *token, size_t size)
{
	struct id_token_wanted wanted = {
		.issuers = "https://issuer.example.org, issuer",
		.client_ids = "app,other",
		.nonce = "n",
		.now_seconds = 1767225600,
	};

	MUST(token->key_id != NULL && token->claims != NULL && token->claims->type == JSON_OBJECT);
	MUST(token->signed_length < size && token->signature_length < size);
	if (id_token_fault(token, &wanted) == NULL)
		MUST(id_token_subject(token) != NULL && id_token_subject(token)[0] != '\0');
	(void)id_token_email(token);
	(void)id_token_name(arena, token);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = { 0 };
	const char *text = arena_strndup(&arena, (const char *)data, size);
	struct id_token token;

	if (id_token_read(&arena, text, &token))
		check(&arena, &token, size);
	arena_free(&arena);
	return 0;
}
