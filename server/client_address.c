/* client_address: walks X-Forwarded-For from its right end, as each proxy has added to that. */
#include "server/client_address.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <event2/http.h>

#include "common/cidr.h"
#include "common/config.h"
#include "common/log.h"
#include "server/request.h"

struct proxies {
	struct arena arena;
	struct cidr *list;
	size_t count;
};

struct proxies *
proxies_new(const struct config *config)
{
	struct proxies *proxies = calloc(1, sizeof(*proxies));

	if (proxies == NULL)
		fatal("out of memory");
	/* The configuration has been checked. */
	if (cidr_parse_list(
		&proxies->arena, config->trusted_proxies, &proxies->list, &proxies->count) != NULL)
		fatal_configuration("TRUSTED_PROXIES cannot be read");
	return proxies;
}

void
proxies_free(struct proxies *proxies)
{
	arena_free(&proxies->arena);
	free(proxies);
}

/* In normal form, IPv4 as IPv4; NULL if it is no address. */
static const char *
normalised(struct request *r, const char *text)
{
	char plain[INET6_ADDRSTRLEN];
	struct in6_addr six;
	struct in_addr four;

	if (inet_pton(AF_INET, text, &four) == 1)
		return request_keep(r, inet_ntop(AF_INET, &four, plain, sizeof(plain)));
	if (inet_pton(AF_INET6, text, &six) != 1)
		return NULL;
	if (IN6_IS_ADDR_V4MAPPED(&six))
		return request_keep(r, inet_ntop(AF_INET, six.s6_addr + 12, plain, sizeof(plain)));
	return request_keep(r, inet_ntop(AF_INET6, &six, plain, sizeof(plain)));
}

/* One element, which may bear brackets and a port: "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80". */
static const char *
element_address(struct request *r, const char *from, size_t length)
{
	char *text = arena_strndup(&r->arena, from, length), *colon = strchr(text, ':');

	if (text[0] == '[') {
		text++;
		text[strcspn(text, "]")] = '\0';
	} else if (colon != NULL && strchr(colon + 1, ':') == NULL) {
		*colon = '\0';
	}
	return normalised(r, text);
}

/* All X-Forwarded-For fields as the one list that they are (RFC 9110 section 5.3). */
static const char *
forwarded_for(struct request *r)
{
	const char *list = "";
	const char *value = request_header(r, "X-Forwarded-For");

	for (; value != NULL; value = request_header_after(value, "X-Forwarded-For"))
		list = arena_printf(&r->arena, "%s,%s", list, value);
	return list;
}

/* The last element before `end`; NULL if there is none. Moves `end` to its beginning. */
static const char *
element_before(struct request *r, const char *list, size_t *end)
{
	size_t stop = *end, start;

	while (stop > 0 && strchr(", \t", list[stop - 1]) != NULL)
		stop--;
	for (start = stop; start > 0 && strchr(", \t", list[start - 1]) == NULL;)
		start--;
	*end = start;
	return stop == start ? NULL : element_address(r, list + start, stop - start);
}

const char *
client_address(struct request *r)
{
	const struct proxies *proxies = r->worker->proxies;
	const char *address = NULL, *list, *further;
	char *peer = NULL;
	uint16_t port;
	size_t end;

	evhttp_connection_get_peer(evhttp_request_get_connection(r->http), &peer, &port);
	address = peer == NULL ? NULL : normalised(r, peer);
	if (address == NULL)
		return "0.0.0.0";
	if (!cidr_list_contains(proxies->list, proxies->count, address))
		return address;
	list = forwarded_for(r);
	end = strlen(list);
	while ((further = element_before(r, list, &end)) != NULL) {
		address = further;
		if (!cidr_list_contains(proxies->list, proxies->count, address))
			break;
	}
	return address;
}

const char *
client_network(struct request *r)
{
	const char *address = client_address(r);
	char network[INET6_ADDRSTRLEN];
	struct in6_addr six;

	if (inet_pton(AF_INET6, address, &six) != 1)
		return address;
	memset(six.s6_addr + 8, 0, 8);
	return arena_printf(
	    &r->arena, "%s/64", inet_ntop(AF_INET6, &six, network, sizeof(network)));
}
