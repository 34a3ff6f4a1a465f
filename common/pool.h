/*
 * pool: keeps freed buffers of the sizes that libevent asks for again and again.
 *
 * A request makes libevent allocate and free some twenty times.  glibc's per-thread cache keeps seven pieces of a size
 * up to 1032 bytes, but a turn of the loop frees what dozens of requests have had, and for all else glibc searches
 * and tidies up its heap.
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
