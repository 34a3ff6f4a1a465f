/*
 * pg_address: the server's name to its addresses, without blocking.
 *
 * libpq looks names up with getaddrinfo(), which blocks the whole process for as long as the resolver
 * is silent.  So the name is looked up by evdns first, at every attempt (a failover may be a change in
 * DNS), and libpq is given `hostaddr`: every address with the same `host`, which TLS and the password
 * file go by.  Socket directories, numeric addresses, a conninfo with its own hostaddr or with several
 * hosts are libpq's business.
 */
#include "common/pg_private.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/dns.h>
#include <event2/util.h>

#include "common/log.h"

#define HOST_NAME_MOST 253 /* RFC 1035, in text form */

/* Outlives a cancelled attempt: evdns calls back even then, in a later turn. */
struct pg_lookup {
	struct pg_connection *connection; /* NULL once cancelled */
	struct evdns_getaddrinfo_request *request;
};

static bool
is_name(const char *host)
{
	unsigned char address[sizeof(struct in6_addr)];

	if (host == NULL || host[0] == '\0' || host[0] == '/' || host[0] == '@')
		return false;
	if (strchr(host, ',') != NULL || strchr(host, '%') != NULL || strlen(host) > HOST_NAME_MOST)
		return false;
	return inet_pton(AF_INET, host, address) != 1 && inet_pton(AF_INET6, host, address) != 1;
}

char *
pg_address_host(const char *conninfo)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
	const char *host = NULL, *address = NULL;
	char *name = NULL;

	/* libpq's own text may quote the password, so it is not shown. */
	if (options == NULL)
		fatal_configuration(
		    "DATABASE_URL is neither a libpq URL nor a libpq keyword string");
	for (const PQconninfoOption *option = options; option->keyword != NULL; option++) {
		if (strcmp(option->keyword, "host") == 0)
			host = option->val;
		if (strcmp(option->keyword, "hostaddr") == 0)
			address = option->val;
	}
	if ((address == NULL || address[0] == '\0') && is_name(host)) {
		name = strdup(host);
		if (name == NULL)
			fatal("out of memory");
	}
	PQconninfoFree(options);
	return name;
}

static bool
address_text(const struct evutil_addrinfo *info, char text[INET6_ADDRSTRLEN])
{
	const void *address;

	if (info->ai_family == AF_INET)
		address = &((const struct sockaddr_in *)(const void *)info->ai_addr)->sin_addr;
	else if (info->ai_family == AF_INET6)
		address = &((const struct sockaddr_in6 *)(const void *)info->ai_addr)->sin6_addr;
	else
		return false;
	return inet_ntop(info->ai_family, address, text, INET6_ADDRSTRLEN) != NULL;
}

/*
 * libpq tries the addresses in the order given, so the list begins elsewhere after an attempt that met
 * silence.
 */
static void
connect_to(struct pg_connection *connection, const struct evutil_addrinfo *infos)
{
	char found[PG_ADDRESS_MOST][INET6_ADDRSTRLEN];
	char hosts[PG_ADDRESS_MOST * (HOST_NAME_MOST + 1)];
	char addresses[PG_ADDRESS_MOST * (INET6_ADDRSTRLEN + 1)];
	size_t hosts_end = 0, addresses_end = 0;
	unsigned count = 0;

	for (const struct evutil_addrinfo *info = infos; info != NULL && count < PG_ADDRESS_MOST;
	     info = info->ai_next)
		if (address_text(info, found[count]))
			count++;
	if (count == 0) {
		pg_connection_resolved(connection, NULL, NULL, "the name has no address");
		return;
	}
	for (unsigned i = 0; i < count; i++) {
		const char *comma = i > 0 ? "," : "";

		hosts_end += snprintf(hosts + hosts_end, sizeof(hosts) - hosts_end, "%s%s", comma,
		    connection->pool->host);
		addresses_end += snprintf(addresses + addresses_end,
		    sizeof(addresses) - addresses_end, "%s%s", comma,
		    found[(connection->first_address + i) % count]);
	}
	pg_connection_resolved(connection, hosts, addresses, NULL);
}

static void
resolved(int error, struct evutil_addrinfo *infos, void *argument)
{
	struct pg_lookup *lookup = argument;
	struct pg_connection *connection = lookup->connection;

	free(lookup);
	if (connection != NULL) {
		connection->lookup = NULL;
		if (error != 0)
			pg_connection_resolved(connection, NULL, NULL, evutil_gai_strerror(error));
		else
			connect_to(connection, infos);
	}
	if (infos != NULL)
		evutil_freeaddrinfo(infos);
}

void
pg_address_resolve(struct pg_connection *connection)
{
	const struct evutil_addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct pg_lookup *lookup = calloc(1, sizeof(*lookup));
	struct evdns_getaddrinfo_request *request;

	if (lookup == NULL)
		fatal("out of memory");
	lookup->connection = connection;
	connection->lookup = lookup;
	request = evdns_getaddrinfo(
	    connection->pool->dns, connection->pool->host, NULL, &hints, resolved, lookup);
	/* NULL: resolved() has run already, and the lookup is gone. */
	if (request != NULL)
		lookup->request = request;
}

void
pg_address_cancel(struct pg_connection *connection)
{
	struct pg_lookup *lookup = connection->lookup;

	if (lookup == NULL)
		return;
	connection->lookup = NULL;
	lookup->connection = NULL;
	evdns_getaddrinfo_cancel(lookup->request);
}
