/*
 * listeners: binding.  First it is asked, by a bind() without SO_REUSEPORT, whether somebody else has
 * the address; with SO_REUSEPORT alone two servers of one user would silently share it and each get
 * half of the connections.
 */
#include "server/master/listeners.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"

#define BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

/* One address to serve, and what is needed to open sockets there. */
struct place {
	enum boot_listener_kind kind;
	const char *setting;
	struct config_listen listen;
	char address[LISTENER_ADDRESS_SIZE];
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} name;
	socklen_t name_length;
};

static size_t find_places(const struct config *, struct place places[2]);
static void
add_place(struct place *, enum boot_listener_kind, const char *setting, struct config_listen);
static bool open_place(
    struct listeners *, const struct place *, int workers, const struct listeners *inherited);
static void inherit(struct listeners *, const struct place *, const struct listeners *inherited);
static bool has_port(const struct listeners *, int port);
static bool is_free(const struct place *);
static int bind_place(const struct place *, int option);
static void add_bound(struct listeners *, const struct place *, int fd);
static bool holds(const struct listeners *, int fd);
static size_t count_kind(const struct listeners *, enum boot_listener_kind);

int
listeners_workers(const struct config *config)
{
	if (config->role != ROLE_SWEEPER)
		return config->workers;
	return config->internal_listen.host ? 1 : 0;
}

bool
listeners_open(struct listeners *listeners, const struct config *config,
    const struct listeners *inherited, char *fault, size_t fault_size)
{
	struct place places[2];
	size_t count = find_places(config, places);

	*listeners = (struct listeners){ 0 };
	for (size_t i = 0; i < count; i++) {
		if (open_place(listeners, &places[i], listeners_workers(config), inherited))
			continue;
		if (errno == EADDRINUSE)
			snprintf(fault, fault_size, "%s: %s is taken by another process",
			    places[i].setting, places[i].address);
		else
			snprintf(fault, fault_size, "%s: %s: %s", places[i].setting,
			    places[i].address, strerror(errno));
		listeners_close(listeners, inherited);
		return false;
	}
	return true;
}

static size_t
find_places(const struct config *config, struct place places[2])
{
	size_t count = 0;

	if (config->role == ROLE_ALL || config->role == ROLE_PUBLIC)
		add_place(
		    &places[count++], LISTENER_PUBLIC, "PUBLIC_LISTEN", config->public_listen);
	if (config->role != ROLE_PUBLIC && config->internal_listen.host)
		add_place(&places[count++], LISTENER_INTERNAL, "INTERNAL_LISTEN",
		    config->internal_listen);
	return count;
}

static void
add_place(struct place *place, enum boot_listener_kind kind, const char *setting,
    struct config_listen listen)
{
	*place = (struct place){ .kind = kind, .setting = setting, .listen = listen };
	if (strchr(listen.host, ':')) {
		snprintf(
		    place->address, sizeof(place->address), "[%s]:%d", listen.host, listen.port);
		place->name.v6.sin6_family = AF_INET6;
		place->name.v6.sin6_port = htons((uint16_t)listen.port);
		inet_pton(AF_INET6, listen.host, &place->name.v6.sin6_addr);
		place->name_length = sizeof(place->name.v6);
		return;
	}
	snprintf(place->address, sizeof(place->address), "%s:%d", listen.host, listen.port);
	place->name.v4.sin_family = AF_INET;
	place->name.v4.sin_port = htons((uint16_t)listen.port);
	inet_pton(AF_INET, listen.host, &place->name.v4.sin_addr);
	place->name_length = sizeof(place->name.v4);
}

/* False with errno. */
static bool
open_place(struct listeners *listeners, const struct place *place, int workers,
    const struct listeners *inherited)
{
	size_t wanted = (size_t)workers;

	if (inherited)
		inherit(listeners, place, inherited);
	/* From 0.0.0.0:3000 to 127.0.0.1:3000 it is ourselves who have the port. */
	if (count_kind(listeners, place->kind) == 0 &&
	    !(inherited && has_port(inherited, place->listen.port)) && !is_free(place))
		return false;
	while (count_kind(listeners, place->kind) < wanted) {
		int fd = bind_place(place, SO_REUSEPORT);

		if (fd < 0)
			return false;
		add_bound(listeners, place, fd);
	}
	return true;
}

static void
inherit(struct listeners *listeners, const struct place *place, const struct listeners *inherited)
{
	for (size_t i = 0; i < inherited->count; i++) {
		const struct listener *listener = &inherited->all[i];

		if (listener->kind == place->kind && strcmp(listener->address, place->address) == 0)
			listeners_add(listeners, listener);
	}
}

static bool
has_port(const struct listeners *listeners, int port)
{
	for (size_t i = 0; i < listeners->count; i++)
		if (atoi(strrchr(listeners->all[i].address, ':') + 1) == port)
			return true;
	return false;
}

static bool
is_free(const struct place *place)
{
	int fd = bind_place(place, 0);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/*
 * A bound socket; -1 with errno.  SO_REUSEADDR lets us bind while connections of a server before us
 * linger in TIME_WAIT, and is taken off again until we listen, because a bound socket that has it and
 * does not listen yet, does not keep the next server's question from being answered "free".
 */
static int
bind_place(const struct place *place, int option)
{
	int fd = socket(place->name.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1, off = 0, error;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    (option == 0 || setsockopt(fd, SOL_SOCKET, option, &on, sizeof(on)) == 0) &&
	    (place->name.any.sa_family != AF_INET6 ||
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0) &&
	    bind(fd, &place->name.any, place->name_length) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &off, sizeof(off)) == 0)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

bool
listeners_listen(const struct listeners *listeners)
{
	int on = 1;

	for (size_t i = 0; i < listeners->count; i++) {
		int fd = listeners->all[i].fd;

		/* Accepted connections inherit SO_REUSEADDR, and it must survive them in TIME_WAIT. */
		if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
		    listen(fd, BACKLOG) != 0)
			return false;
	}
	return true;
}

void
listeners_close(struct listeners *listeners, const struct listeners *kept)
{
	for (size_t i = 0; i < listeners->count; i++)
		if (!kept || !holds(kept, listeners->all[i].fd))
			close(listeners->all[i].fd);
	free(listeners->all);
	*listeners = (struct listeners){ 0 };
}

static bool
holds(const struct listeners *listeners, int fd)
{
	for (size_t i = 0; i < listeners->count; i++)
		if (listeners->all[i].fd == fd)
			return true;
	return false;
}

static void
add_bound(struct listeners *listeners, const struct place *place, int fd)
{
	struct listener listener = { .fd = fd, .kind = place->kind };

	memcpy(listener.address, place->address, sizeof(listener.address));
	listeners_add(listeners, &listener);
}

void
listeners_add(struct listeners *listeners, const struct listener *listener)
{
	listeners->all = reallocarray(
	    listeners->all, listeners->count + 1, sizeof(*listeners->all));
	if (!listeners->all)
		fatal("out of memory");
	listeners->all[listeners->count++] = *listener;
}

size_t
listeners_share(
    const struct listeners *listeners, int index, int workers, struct boot_listener *share)
{
	size_t seen[] = { [LISTENER_PUBLIC] = 0, [LISTENER_INTERNAL] = 0 };
	size_t count = 0;

	for (size_t i = 0; i < listeners->count; i++) {
		const struct listener *listener = &listeners->all[i];

		if ((int)(seen[listener->kind]++ % (size_t)workers) == index)
			share[count++] = (struct boot_listener){ listener->fd, listener->kind };
	}
	return count;
}

static size_t
count_kind(const struct listeners *listeners, enum boot_listener_kind kind)
{
	size_t count = 0;

	for (size_t i = 0; i < listeners->count; i++)
		count += listeners->all[i].kind == kind;
	return count;
}

void
listeners_describe(const struct listeners *listeners, char *text, size_t size)
{
	const char *address[2] = { NULL, NULL };

	for (size_t i = 0; i < listeners->count; i++)
		address[listeners->all[i].kind] = listeners->all[i].address;
	snprintf(text, size, "%s%s%s%s%s", address[LISTENER_PUBLIC] ? "public " : "",
	    address[LISTENER_PUBLIC] ? address[LISTENER_PUBLIC] : "",
	    address[LISTENER_PUBLIC] && address[LISTENER_INTERNAL] ? ", " : "",
	    address[LISTENER_INTERNAL] ? "internal " : "",
	    address[LISTENER_INTERNAL] ? address[LISTENER_INTERNAL] : "");
}
