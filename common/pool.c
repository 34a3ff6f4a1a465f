/*
 * pool: a free list for each multiple of 32 bytes up to a KiB, and of 512 bytes from there to 8 KiB and a little.
 *
 * glibc knows how large a piece is, so nothing needs to be written before it.  Lists are short: what a burst
 * leaves over goes back to the heap.
 */
#include "common/pool.h"

#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>

#include <event2/event.h>

#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define FINE         32
#define FINE_MOST    1024 /* bytes in a piece of a fine class */
#define FINE_CLASSES (FINE_MOST / FINE + 1)
#define COARSE       512
#define CLASSES      (FINE_CLASSES + 18)
#define KEPT_MOST    64 /* pieces a class */

union piece {
	union piece *next; /* while it is kept */
	max_align_t aligned;
};

static struct {
	union piece *first;
	unsigned count;
} kept[CLASSES];

/* Which pieces have so much room. */
static size_t
class_of(size_t room)
{
	return room < FINE_MOST + FINE ? room / FINE : FINE_CLASSES + room / COARSE;
}

/* So that a piece's room, which glibc may make some bytes larger, is of the class that its size was asked of. */
static size_t
rounded(size_t bytes)
{
	size_t unit = bytes <= FINE_MOST ? FINE : COARSE;

	return (bytes + unit - 1) / unit * unit;
}

static void *
pool_malloc(size_t bytes)
{
	size_t size = rounded(bytes), class = class_of(size);
	union piece *piece;

	if (class >= CLASSES)
		return malloc(bytes);
	piece = kept[class].first;
	if (piece == NULL)
		return malloc(size);
	kept[class].first = piece->next;
	kept[class].count--;
	return piece;
}

static void
pool_free(void *memory)
{
	size_t class = memory == NULL ? CLASSES : class_of(malloc_usable_size(memory));
	union piece *piece = memory;

	if (class >= CLASSES || kept[class].count == KEPT_MOST) {
		free(memory);
		return;
	}
	piece->next = kept[class].first;
	kept[class].first = piece;
	kept[class].count++;
}

void
pool_install(void)
{
	if (!SANITIZED)
		event_set_mem_functions(pool_malloc, realloc, pool_free);
}
