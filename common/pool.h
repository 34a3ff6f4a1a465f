/*
 * pool: keeps freed buffers of the sizes that libevent asks for again and again.
 *
 * A request makes libevent allocate and free some forty times.  The small pieces are glibc's business, whose
 * per-thread cache takes them; but that ends at 1032 bytes, and the buffers of a few KiB make it search and tidy
 * up its heap each time.
 */
#ifndef COMMON_POOL_H
#define COMMON_POOL_H

/*
 * Gives libevent these functions; for a process in which one thread uses it.  All of it is malloc()'s memory,
 * so free() and realloc() work on it too.  Under AddressSanitizer it does nothing: kept memory would hide a
 * use after free.
 */
void pool_install(void);

#endif
