/* What arena.h promises. */
#include "test/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "common/arena.h"

static bool all_zero(const unsigned char *, size_t);

TEST("memory is zeroed and aligned for any type, whatever its size")
{
	struct arena arena = { 0 };

	for (size_t bytes = 0; bytes < 20000; bytes += 1 + bytes / 3) {
		unsigned char *memory = arena_alloc(&arena, bytes);

		unit_about("%zu bytes", bytes);
		CHECK((uintptr_t)memory % _Alignof(max_align_t) == 0);
		CHECK(all_zero(memory, bytes));
		memset(memory, 0xaa, bytes);
	}
	arena_free(&arena);
}

static bool
all_zero(const unsigned char *memory, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (memory[i] != 0)
			return false;
	return true;
}

TEST("allocations do not overlap, large ones between small ones included")
{
	enum { COUNT = 500 };
	struct arena arena = { 0 };
	unsigned char *memory[COUNT];
	size_t size[COUNT];

	for (size_t i = 0; i < COUNT; i++) {
		size[i] = i % 7 == 0 ? 9000 + i : 1 + i % 60;
		memory[i] = arena_alloc(&arena, size[i]);
		memset(memory[i], (int)(i % 251), size[i]);
	}
	for (size_t i = 0; i < COUNT; i++)
		for (size_t j = 0; j < size[i]; j++)
			if (memory[i][j] != i % 251) {
				CHECK(!"overwritten");
				break;
			}
	arena_free(&arena);
}

TEST("copies of texts end where they are told to")
{
	struct arena arena = { 0 };

	CHECK_TEXT(arena_strdup(&arena, "mitra"), "mitra");
	CHECK_TEXT(arena_strdup(&arena, ""), "");
	CHECK_TEXT(arena_strndup(&arena, "mitra", 3), "mit");
	CHECK_TEXT(arena_strndup(&arena, NULL, 0), "");
	arena_free(&arena);
}

TEST("a formatted text may have any length")
{
	struct arena arena = { 0 };
	char *text = arena_printf(&arena, "%0*d", 50000, 7);

	CHECK(strlen(text) == 50000 && text[49999] == '7');
	CHECK_TEXT(arena_printf(&arena, "%s-%d", "worker", 3), "worker-3");
	arena_free(&arena);
}

TEST("an arena that was freed is empty and can be used again")
{
	struct arena arena = { 0 };

	arena_free(&arena);
	arena_alloc(&arena, 10);
	arena_free(&arena);
	CHECK(arena.blocks == NULL);
	CHECK_TEXT(arena_strdup(&arena, "again"), "again");
	arena_free(&arena);
}
