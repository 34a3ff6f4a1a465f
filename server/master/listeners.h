/*
 * listeners: the sockets that clients connect to.
 *
 * The master binds them and keeps them open for as long as somebody should serve them.  Every worker
 * has a socket of its own for each address (SO_REUSEPORT): the kernel spreads the connections evenly,
 * nobody is woken in vain, and when a worker dies, the queue of its socket waits for its successor.  A
 * connection in the queue of a socket that is closed would be reset; so sockets are handed on from
 * generation to generation, and never closed while their address is served.
 */
#ifndef SERVER_LISTENERS_H
#define SERVER_LISTENERS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/boot.h"
#include "common/config.h"

#define LISTENER_ADDRESS_SIZE 64 /* "[ffff:…]:65535" and its NUL */

struct listener {
	int fd;
	enum boot_listener_kind kind;
	char address[LISTENER_ADDRESS_SIZE]; /* as in the configuration; "[::1]:3000" */
};

struct listeners {
	struct listener *all;
	size_t count;
};

/*
 * How many workers the role needs: --role sweeper has one, for the probes, or none if it has no address
 * for them.
 */
int listeners_workers(const struct config *);

/*
 * What the configuration asks for: sockets of `inherited` (NULL: none) where the address is the same,
 * new ones else.  New ones are bound and do not listen yet.  On failure everything new is closed again,
 * and `fault` names the setting and why.
 */
bool listeners_open(struct listeners *, const struct config *, const struct listeners *inherited,
    char *fault, size_t fault_size) __attribute__((warn_unused_result));
/* From now on connections come in. False with errno: no socket may fail here. */
bool listeners_listen(const struct listeners *) __attribute__((warn_unused_result));
/* Adds a copy. */
void listeners_add(struct listeners *, const struct listener *);
/* Closes those that are not in `kept` (NULL: all), and forgets them all. */
void listeners_close(struct listeners *, const struct listeners *kept);

/*
 * For worker `index` of `workers`: every workers-th of each address. Returns how many; `share` has room
 * for listeners->count.
 */
size_t
listeners_share(const struct listeners *, int index, int workers, struct boot_listener *share);

/* "public 0.0.0.0:3000, internal 127.0.0.1:3001" */
void listeners_describe(const struct listeners *, char *text, size_t size);

#endif
