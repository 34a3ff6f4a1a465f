/*
 * json_memory: malloc() for yajl out of an arena.
 *
 * yajl does not look whether an allocation succeeded; those of an arena always do.
 */
#include "common/json_memory.h"

#include <stddef.h>
#include <string.h>

/* Stands before each allocation: realloc() must know how much to copy. */
struct header {
	_Alignas(max_align_t) size_t bytes;
};

static void *allocate(void *arena, size_t bytes);
static void *reallocate(void *arena, void *memory, size_t bytes);
static void release(void *arena, void *memory);

yajl_alloc_funcs
json_memory_functions(struct arena *arena)
{
	return (yajl_alloc_funcs){
		.malloc = allocate,
		.realloc = reallocate,
		.free = release,
		.ctx = arena,
	};
}

static void *
allocate(void *arena, size_t bytes)
{
	struct header *header = arena_alloc(arena, sizeof(*header) + bytes);

	header->bytes = bytes;
	return header + 1;
}

static void *
reallocate(void *arena, void *memory, size_t bytes)
{
	struct header *old = memory ? (struct header *)memory - 1 : NULL;
	void *moved;

	if (old && bytes <= old->bytes)
		return memory;
	moved = allocate(arena, bytes);
	if (old)
		memcpy(moved, memory, old->bytes);
	return moved;
}

static void
release(void *arena, void *memory)
{
}
