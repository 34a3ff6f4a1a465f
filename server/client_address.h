/*
 * client_address: who sends a request, as far as limits by address are concerned.
 *
 * The peer; but if that is one of TRUSTED_PROXIES, then the right-most address of X-Forwarded-For that is none of them: what stands
 * further left the client may have written itself.
 */
#ifndef SERVER_CLIENT_ADDRESS_H
#define SERVER_CLIENT_ADDRESS_H

struct config;
struct proxies;
struct request;

/* TRUSTED_PROXIES, parsed. */
struct proxies *proxies_new(const struct config *);
void proxies_free(struct proxies *);

/* IPv4 (also where it came as ::ffff:…) or IPv6, in text; in the request's arena. */
const char *client_address(struct request *);
/* What one client holds: an IPv4 address, or the /64 of an IPv6 address, as "2001:db8:0:1::/64". */
const char *client_network(struct request *);

#endif
