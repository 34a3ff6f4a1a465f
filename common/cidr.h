/* cidr: networks such as 10.0.0.0/8 and 2001:db8::/32, and whether an address lies in one. */
#ifndef COMMON_CIDR_H
#define COMMON_CIDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"

/* IPv4 is kept as IPv6's ::ffff:0:0/96, so that an IPv4 peer of an IPv6 socket is the same peer. */
struct cidr {
	uint8_t address[16];
	int bits; /* of the prefix, 0 to 128 */
};

/* An address alone is the network of this one address. NULL, or why not; the reason is in the arena. */
const char *cidr_parse(struct arena *, const char *text, struct cidr *);
/* Comma-separated, blanks around a comma allowed; "" is an empty list. The list is in the arena. */
const char *cidr_parse_list(struct arena *, const char *text, struct cidr **list, size_t *count);

/* `address` is an IPv4 or IPv6 address in text; false for anything else. */
bool cidr_contains(const struct cidr *, const char *address);
bool cidr_list_contains(const struct cidr *list, size_t count, const char *address);

#endif
