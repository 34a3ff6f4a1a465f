/*
 * pg_fixture: made before main() runs, and taken down at exit.
 */
#include "test/unit/pg_fixture.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <libpq-fe.h>

#define PULSE_MS  10
#define MOMENT_MS 15 /* no turn of the loop takes longer, unless others have the processor */

struct event_base *base;
const char *server_url;

static PGconn *admin;
static struct event *pulse;
static int64_t ran, turned_ms;

void
fixture_failed(const char *condition, const char *file, int line)
{
	fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
	_exit(1);
}

void
admin_run(const char *sql)
{
	PGresult *result = PQexec(admin, sql);
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		fixture_failed(PQresultErrorMessage(result), sql, 0);
	PQclear(result);
}

static void
tick(evutil_socket_t socket, short what, void *argument)
{
	int64_t now_ms = clock_monotonic_ms(), since_ms = now_ms - turned_ms;

	ran += since_ms < MOMENT_MS ? since_ms : MOMENT_MS;
	turned_ms = now_ms;
}

int64_t
ran_ms(void)
{
	return ran;
}

void
run_for(int64_t ms)
{
	int64_t end_ms = clock_monotonic_ms() + ms;

	RUN_UNTIL(clock_monotonic_ms() >= end_ms);
}

struct proxy_pair {
	struct proxy_pair *next;
	struct bufferevent *ends[2];
};

static struct proxy {
	enum proxy_mode mode;
	struct sockaddr_in address;
	struct sockaddr_storage server;
	socklen_t server_length;
	struct evconnlistener *listener;
	struct proxy_pair *pairs;
} proxy;

char proxy_url[1024];

static void
proxy_read(struct bufferevent *from, void *argument)
{
	struct proxy_pair *pair = argument;
	struct bufferevent *to = pair->ends[from == pair->ends[0]];

	bufferevent_write_buffer(to, bufferevent_get_input(from));
}

static void
pair_free(struct proxy_pair *pair)
{
	for (struct proxy_pair **p = &proxy.pairs; *p != NULL; p = &(*p)->next) {
		if (*p != pair)
			continue;
		*p = pair->next;
		break;
	}
	bufferevent_free(pair->ends[0]);
	bufferevent_free(pair->ends[1]);
	free(pair);
}

static void
proxy_event(struct bufferevent *end, short what, void *argument)
{
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		pair_free(argument);
}

static void
pair_set(struct proxy_pair *pair)
{
	for (int i = 0; i < 2; i++) {
		if (proxy.mode == SWALLOW)
			bufferevent_disable(pair->ends[i], EV_READ | EV_WRITE);
		else
			bufferevent_enable(pair->ends[i], EV_READ | EV_WRITE);
	}
}

static void
proxy_accept(struct evconnlistener *listener, evutil_socket_t socket, struct sockaddr *address,
    int length, void *argument)
{
	struct proxy_pair *pair = calloc(1, sizeof(*pair));

	REQUIRE(pair != NULL);
	pair->ends[0] = bufferevent_socket_new(base, socket, BEV_OPT_CLOSE_ON_FREE);
	pair->ends[1] = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	pair->next = proxy.pairs;
	proxy.pairs = pair;
	for (int i = 0; i < 2; i++)
		bufferevent_setcb(pair->ends[i], proxy_read, NULL, proxy_event, pair);
	REQUIRE(bufferevent_socket_connect(pair->ends[1], (struct sockaddr *)&proxy.server,
		    (int)proxy.server_length) == 0);
	pair_set(pair);
}

static void
proxy_listen(void)
{
	proxy.listener = evconnlistener_new_bind(base, proxy_accept, NULL,
	    LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 16,
	    (struct sockaddr *)&proxy.address, sizeof(proxy.address));
	REQUIRE(proxy.listener != NULL);
}

void
proxy_set(enum proxy_mode mode)
{
	proxy.mode = mode;
	if (mode == REFUSE) {
		while (proxy.pairs != NULL)
			pair_free(proxy.pairs);
		evconnlistener_free(proxy.listener);
		proxy.listener = NULL;
		return;
	}
	if (proxy.listener == NULL)
		proxy_listen();
	for (struct proxy_pair *pair = proxy.pairs; pair != NULL; pair = pair->next)
		pair_set(pair);
}

/* In front of the server that `admin` is connected to, wherever that is. */
static void
proxy_start(void)
{
	socklen_t length = sizeof(proxy.address);

	proxy.server_length = sizeof(proxy.server);
	REQUIRE(getpeername(
		    PQsocket(admin), (struct sockaddr *)&proxy.server, &proxy.server_length) == 0);
	proxy.address.sin_family = AF_INET;
	proxy.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	proxy_listen();
	REQUIRE(getsockname(evconnlistener_get_fd(proxy.listener),
		    (struct sockaddr *)&proxy.address, &length) == 0);
	snprintf(proxy_url, sizeof(proxy_url),
	    "host=127.0.0.1 port=%d user='%s' dbname='%s' password='%s' sslmode=disable "
	    "gssencmode=disable",
	    ntohs(proxy.address.sin_port), PQuser(admin), PQdb(admin), PQpass(admin));
}

/* Everything is released, so that what a leak checker finds is a leak of pg. */
static void
fixture_stop(void)
{
	proxy_set(REFUSE);
	run_for(50);
	PQfinish(admin);
	event_free(pulse);
	event_base_free(base);
}

__attribute__((constructor)) static void
fixture_start(void)
{
	server_url = getenv("MITRAD_TEST_DATABASE_URL");
	if (server_url == NULL || server_url[0] == '\0')
		exit(77);
	base = event_base_new();
	REQUIRE(base != NULL);
	pulse = event_new(base, -1, EV_PERSIST, tick, NULL);
	event_add(pulse, &(struct timeval){ .tv_usec = PULSE_MS * 1000 });
	admin = PQconnectdb(server_url);
	REQUIRE(PQstatus(admin) == CONNECTION_OK);
	admin_run("SET client_min_messages = warning");
	proxy_start();
	atexit(fixture_stop);
}
