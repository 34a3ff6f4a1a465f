/* fuzz_jwk_set: any bytes to jwk_set_read(). Each key that it takes must have an id by which a key is found. */
#include <stdint.h>
#include <stdlib.h>

#include "server/sign_in/jwk_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct jwk_set set = { 0 };

	jwk_set_read(&set, (const char *)data, size);
	if (set.count > JWK_SET_KEYS_MAX)
		abort();
	for (size_t i = 0; i < set.count; i++)
		if (jwk_set_find(&set, set.keys[i].id) == NULL)
			abort();
	jwk_set_clear(&set);
	return 0;
}
