/*
 * pool: a free list for each multiple of 512 bytes up to 8 KiB and a little.
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

#define UNIT      512
#define CLASSES   18   /* class c has c * UNIT bytes */
#define LEAST     1000 /* what is smaller is left to glibc: most of it comes and goes within a turn */
#define KEPT_MOST 64   /* pieces a class */

union piece {
	union piece *next; /* while it is kept */
	max_align_t aligned;
};

static struct {
	union piece *first;
	unsigned count;
} kept[CLASSES];

static void *
pool_malloc(size_t bytes)
{
	size_t class = (bytes + UNIT - 1) / UNIT;
	union piece *piece;

	if (bytes <= LEAST || class >= CLASSES)
		return malloc(bytes);
	piece = kept[class].first;
	if (piece == NULL)
		return malloc(class * UNIT);
	kept[class].first = piece->next;
	kept[class].count--;
	return piece;
}

static void
pool_free(void *memory)
{
	size_t room = memory == NULL ? 0 : malloc_usable_size(memory), class = room / UNIT;
	union piece *piece = memory;

	if (room <= LEAST || class >= CLASSES || kept[class].count == KEPT_MOST) {
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
