/* known: which ids the truth has, for a reseed or a comparison: 16 MB for a million mitras. */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "sweeper/sweeper.h"

static int
hex(char digit)
{
	return digit <= '9' ? digit - '0' : digit - 'a' + 10;
}

static bool
pack(const char *id, unsigned char bytes[16])
{
	if (!sweeper_is_uuid(id))
		return false;
	for (size_t i = 0; i < 16; i++) {
		if (*id == '-')
			id++;
		bytes[i] = (unsigned char)(hex(id[0]) << 4 | hex(id[1]));
		id += 2;
	}
	return true;
}

void
known_add(struct known *known, const char *id)
{
	if (known->count == known->room) {
		known->room = known->room ? known->room * 2 : 1024;
		known->ids = realloc(known->ids, known->room * sizeof(*known->ids));
		if (!known->ids)
			fatal("out of memory");
	}
	if (pack(id, known->ids[known->count]))
		known->count++;
}

static int
compare(const void *left, const void *right)
{
	return memcmp(left, right, 16);
}

bool
known_has(const struct known *known, const char *id)
{
	unsigned char bytes[16];

	return known->count && pack(id, bytes) &&
	       bsearch(bytes, known->ids, known->count, sizeof(*known->ids), compare);
}

void
known_free(struct known *known)
{
	free(known->ids);
	*known = (struct known){ 0 };
}
