/*
 * arena: blocks in a list, the newest being filled from front to back.
 *
 * A small request gets by with one block.  What would waste more than a quarter of a block gets a block of
 * its own, put behind the newest one, so that the newest goes on being filled.  Blocks of the usual size are
 * kept for the next arena, with what was used of them zeroed: clearing 8 KiB and searching the heap for
 * them cost more than all that a heartbeat does with them.
 */
#include "common/arena.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "common/log.h"

#define BLOCK_BYTES ((size_t)8192)
#define KEPT_MOST   64

struct arena_block {
	struct arena_block *older;
	size_t used; /* <= size */
	size_t size; /* of memory[] */
	_Alignas(max_align_t) unsigned char memory[];
};

/* Of this thread: zeroed, empty, linked by `older`. */
static _Thread_local struct arena_block *kept;
static _Thread_local size_t kept_count;

static struct arena_block *block_new(size_t size);
static void *block_take(struct arena_block *, size_t bytes);
static size_t aligned(size_t bytes);

void *
arena_alloc(struct arena *arena, size_t bytes)
{
	struct arena_block *newest = arena->blocks;
	struct arena_block *block;
	size_t need = aligned(bytes);

	if (newest && newest->size - newest->used >= need)
		return block_take(newest, need);

	block = block_new(need > BLOCK_BYTES / 4 ? need : BLOCK_BYTES);
	if (newest && block->size == need) {
		block->older = newest->older;
		newest->older = block;
	} else {
		block->older = newest;
		arena->blocks = block;
	}
	return block_take(block, need);
}

static struct arena_block *
block_new(size_t size)
{
	struct arena_block *block = NULL;

	if (size == BLOCK_BYTES && kept) {
		block = kept;
		kept = block->older;
		kept_count--;
		block->older = NULL;
		return block;
	}
	if (size <= SIZE_MAX - sizeof(*block))
		block = calloc(1, sizeof(*block) + size);
	if (!block)
		fatal("out of memory: %zu bytes", size);
	block->size = size;
	return block;
}

/* Blocks come zeroed, so what is taken is zero. */
static void *
block_take(struct arena_block *block, size_t bytes)
{
	void *memory = block->memory + block->used;

	block->used += bytes;
	return memory;
}

static size_t
aligned(size_t bytes)
{
	size_t unit = _Alignof(max_align_t);

	if (bytes > SIZE_MAX - unit)
		fatal("out of memory: %zu bytes", bytes);
	return (bytes + unit - 1) / unit * unit;
}

char *
arena_strdup(struct arena *arena, const char *text)
{
	return arena_strndup(arena, text, strlen(text));
}

char *
arena_strndup(struct arena *arena, const char *text, size_t length)
{
	char *copy = arena_alloc(arena, length + 1);

	/* text may be NULL when there is nothing to copy. */
	if (length > 0)
		memcpy(copy, text, length);
	return copy;
}

char *
arena_printf(struct arena *arena, const char *format, ...)
{
	va_list arguments, again;
	char *text;
	int length;

	va_start(arguments, format);
	va_copy(again, arguments);
	length = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	if (length < 0)
		fatal("arena_printf: bad format \"%s\"", format);
	text = arena_alloc(arena, (size_t)length + 1);
	vsnprintf(text, (size_t)length + 1, format, again);
	va_end(again);
	return text;
}

void
arena_wipe(struct arena *arena)
{
	for (struct arena_block *block = arena->blocks; block != NULL; block = block->older)
		OPENSSL_cleanse(block->memory, block->used);
}

static void
block_release(struct arena_block *block)
{
	if (block->size != BLOCK_BYTES || kept_count == KEPT_MOST) {
		free(block);
		return;
	}
	memset(block->memory, 0, block->used);
	block->used = 0;
	block->older = kept;
	kept = block;
	kept_count++;
}

void
arena_free(struct arena *arena)
{
	struct arena_block *block = arena->blocks;

	arena->blocks = NULL;
	while (block) {
		struct arena_block *older = block->older;

		block_release(block);
		block = older;
	}
}
