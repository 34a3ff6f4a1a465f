/* What framing_drain() promises those who have connected and were not accepted yet. */
#include "test/unit/unit.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/http.h>

#include "server/gate/framing.h"

#define CLIENTS 20
#define REQUEST "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

static struct event_base *base;
static struct sockaddr_in address;

static int
listening_socket(void)
{
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CHECK(bind(fd, (struct sockaddr *)&address, length) == 0 && listen(fd, CLIENTS) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
	return fd;
}

/* -1 with errno. */
static int
connected(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), error;

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

static void
ask(int fd)
{
	CHECK(send(fd, REQUEST, strlen(REQUEST), MSG_NOSIGNAL) == (ssize_t)strlen(REQUEST));
}

static void
answer(struct evhttp_request *request, void *argument)
{
	if (framing_should_close(request))
		evhttp_add_header(
		    evhttp_request_get_output_headers(request), "Connection", "close");
	evhttp_send_reply(request, 200, "OK", NULL);
}

/* To the end of the connection. */
static void
check_answered(int fd)
{
	char text[1000];
	size_t length = 0;
	ssize_t got;

	while ((got = recv(fd, text + length, sizeof(text) - 1 - length, 0)) > 0)
		length += (size_t)got;
	text[length] = '\0';
	CHECK(got == 0);
	CHECK(strncmp(text, "HTTP/1.1 200 ", 13) == 0);
	CHECK(strstr(text, "\r\nConnection: close\r\n") != NULL);
	close(fd);
}

TEST("who has connected before draining began is answered, and nobody after him")
{
	struct framing_limits limits = FRAMING_LIMITS(CLIENTS);
	struct framing *framing;
	struct evhttp *http;
	int clients[CLIENTS];

	limits.drain_ms = 20000;
	base = event_base_new();
	http = evhttp_new(base);
	evhttp_set_gencb(http, answer, NULL);
	framing = framing_new(base, http, &limits);
	framing_listen(framing, listening_socket());
	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = connected();
		if (i % 2 == 0)
			ask(clients[i]);
	}
	framing_drain(framing);
	for (int i = 1; i < CLIENTS; i += 2)
		ask(clients[i]);
	CHECK(connected() == -1 && errno == ECONNREFUSED);

	while (framing_connections(framing) > 0)
		CHECK(event_base_loop(base, EVLOOP_ONCE) == 0);
	for (int i = 0; i < CLIENTS; i++)
		check_answered(clients[i]);
	framing_free(framing);
	evhttp_free(http);
	event_base_loop(base, EVLOOP_NONBLOCK);
	event_base_free(base);
}
