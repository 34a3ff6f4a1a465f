/*
 * framing_linger: how a connection that has its last answer is closed.
 *
 * To close while the client still sends would make the kernel answer with a reset, upon which the client's
 * kernel throws away our last answer, read or not (RFC 9112 section 9.6).  So wait for the client to close,
 * but not for long, and for no more bytes than anybody would send unknowingly.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "server/gate/framing_connection.h"

/* Who uploads a photo here by mistake sends all of it before he reads that it is too large. */
#define LINGER_BYTES_MAX    ((uint32_t)32 << 20)
#define LINGER_BYTES_A_CALL ((size_t)1 << 20)

static void
lingering_readable(evutil_socket_t fd, short what, void *argument)
{
	struct connection *c = argument;
	/* On TCP this drops the bytes without copying them anywhere (tcp(7), MSG_TRUNC). */
	ssize_t dropped = recv(fd, NULL, LINGER_BYTES_A_CALL, MSG_TRUNC | MSG_DONTWAIT);

	if (dropped < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (dropped > 0)
		c->lingered += (uint32_t)dropped;
	if (dropped <= 0 || c->lingered > LINGER_BYTES_MAX)
		connection_release(c);
}

void
connection_linger(struct connection *c)
{
	event_assign(&c->io, c->framing->base, c->fd, EV_READ | EV_PERSIST, lingering_readable, c);
	if (event_add(&c->io, NULL) != 0)
		fatal("out of memory");
	event_add(&c->deadline, c->framing->deadlines.linger);
}

void
connection_release(struct connection *c)
{
	struct framing *framing = c->framing;

	evtimer_del(&c->deadline);
	event_del(&c->io);
	if (c->fd != -1)
		close(c->fd);
	framing_parse_reset(&c->parse);
	free(c->rest);
	TAILQ_REMOVE(&framing->connections, c, entry);
	framing->lingering--;
	framing->open--;
	free(c);
	framing_connection_gone(framing);
}
