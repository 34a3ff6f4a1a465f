/*
 * arena: memory that lives exactly as long as one piece of work.
 *
 * A request, a pass or a command owns one arena; everything it allocates is released at once and nothing is
 * freed singly.  Out of memory is fatal(): no caller checks.
 */
#ifndef COMMON_ARENA_H
#define COMMON_ARENA_H

#include <stddef.h>

struct arena_block;

/* All zero is an empty arena. */
struct arena {
	struct arena_block *blocks; /* newest first; the newest is the one being filled */
};

/* Zeroed, aligned for any type; valid until arena_free(). */
void *arena_alloc(struct arena *, size_t bytes);
char *arena_strdup(struct arena *, const char *);
char *arena_strndup(struct arena *, const char *, size_t length);
char *arena_printf(struct arena *, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Overwrites everything that was taken, before it is released: for arenas that may hold secrets. */
void arena_wipe(struct arena *);
/* Releases everything; the arena is then empty and may be used again. */
void arena_free(struct arena *);

#endif
