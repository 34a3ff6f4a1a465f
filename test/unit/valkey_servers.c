/*
 * valkey_servers: see the header.  The fake one runs in the client's event loop, so that a test
 * reads as a story.
 */
#include "test/unit/valkey_servers.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "common/clock.h"
#include "common/valkey_resp.h"
#include "test/unit/valkey_fixture.h"

struct fake_connection {
	struct fake_connection *next;
	struct fake *fake;
	struct bufferevent *bev;
	struct valkey_resp_reader *reader; /* a command looks like a reply */
	const char *script[SCRIPT_SIZE];   /* the server's, when it connected */
	size_t answered;
};

static void
connection_free(struct fake_connection *connection)
{
	struct fake_connection **link = &connection->fake->connections;

	while (*link != connection)
		link = &(*link)->next;
	*link = connection->next;
	bufferevent_free(connection->bev);
	valkey_resp_reader_free(connection->reader);
	free(connection);
}

static void
connection_flushed(struct bufferevent *bev, void *argument)
{
	connection_free(argument);
}

static void
connection_ended(struct bufferevent *bev, short what, void *argument)
{
	connection_free(argument);
}

static void
answer_command(struct fake_connection *connection)
{
	const char *line = connection->script[connection->answered];

	if (line == NULL)
		return;
	connection->answered++;
	if (strcmp(line, CLOSE) != 0) {
		bufferevent_write(connection->bev, line, strlen(line));
		return;
	}
	/* After what is still to be written; if there is nothing, the trigger closes. */
	bufferevent_setcb(connection->bev, NULL, connection_flushed, connection_ended, connection);
	bufferevent_trigger(connection->bev, EV_WRITE, 0);
}

static void
connection_read(struct bufferevent *bev, void *argument)
{
	struct fake_connection *connection = argument;
	char bytes[4096];
	redisReply *command;
	size_t length;

	while ((length = bufferevent_read(bev, bytes, sizeof(bytes))) > 0)
		valkey_resp_feed(connection->reader, bytes, length);
	while ((command = valkey_resp_next(connection->reader)) != NULL) {
		freeReplyObject(command);
		answer_command(connection);
	}
}

static void
fake_accepted(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
    int length, void *argument)
{
	struct fake *fake = argument;
	struct fake_connection *connection = calloc(1, sizeof(*connection));

	MUST(connection != NULL);
	fake->accepted++;
	connection->next = fake->connections;
	fake->connections = connection;
	connection->fake = fake;
	memcpy(connection->script, fake->script, sizeof(fake->script));
	connection->reader = valkey_resp_reader_new();
	connection->bev = bufferevent_socket_new(
	    base, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	bufferevent_setcb(connection->bev, connection_read, NULL, connection_ended, connection);
	bufferevent_enable(connection->bev, EV_READ | EV_WRITE);
	if (fake->banner != NULL)
		bufferevent_write(connection->bev, fake->banner, strlen(fake->banner));
}

static struct sockaddr_in
loopback(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

void
fake_start(struct fake *fake, const char *const *script)
{
	*fake = (struct fake){ 0 };
	fake_answer(fake, script);
	fake_restart(fake);
}

void
fake_answer(struct fake *fake, const char *const *script)
{
	memset(fake->script, 0, sizeof(fake->script));
	for (size_t i = 0; script[i] != NULL; i++)
		fake->script[i] = script[i];
}

void
fake_restart(struct fake *fake)
{
	struct sockaddr_in address = loopback(fake->port);
	socklen_t length = sizeof(address);

	fake->listener = evconnlistener_new_bind(base, fake_accepted, fake,
	    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 64, (struct sockaddr *)&address,
	    sizeof(address));
	MUST(fake->listener != NULL);
	MUST(getsockname(
		 evconnlistener_get_fd(fake->listener), (struct sockaddr *)&address, &length) == 0);
	fake->port = ntohs(address.sin_port);
}

void
fake_push(struct fake *fake, const char *bytes)
{
	for (struct fake_connection *connection = fake->connections; connection != NULL;
	     connection = connection->next)
		bufferevent_write(connection->bev, bytes, strlen(bytes));
}

void
fake_stop(struct fake *fake)
{
	if (fake->listener != NULL)
		evconnlistener_free(fake->listener);
	fake->listener = NULL;
	while (fake->connections != NULL)
		connection_free(fake->connections);
}

int
free_port(void)
{
	struct sockaddr_in address = loopback(0);
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	MUST(fd >= 0 && bind(fd, (struct sockaddr *)&address, length) == 0);
	MUST(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
	close(fd);
	return ntohs(address.sin_port);
}

static _Noreturn void
run_server(int listen_port, const char *const *options)
{
	const char *arguments[64] = { "valkey-server", "--save", "", "--appendonly", "no", "--bind",
		"127.0.0.1", "--logfile", "/dev/null", "--daemonize", "no" };
	size_t count = 0, i = 0;
	char port[16];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(port, sizeof(port), "%d", listen_port);
	while (arguments[count] != NULL)
		count++;
	arguments[count++] = "--port";
	arguments[count++] = port;
	while (options != NULL && options[i] != NULL)
		arguments[count++] = options[i++];
	execvp(arguments[0], (char *const *)(uintptr_t)arguments);
	_exit(127);
}

static bool
port_answers(int port)
{
	struct sockaddr_in address = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool answers = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

	close(fd);
	return answers;
}

void
server_start(struct server *server, const char *const *options)
{
	int64_t give_up_ms = fixture_give_up_ms();

	if (server->port == 0)
		server->port = free_port();
	server->pid = fork();
	MUST(server->pid >= 0);
	if (server->pid == 0)
		run_server(server->port, options);
	while (!port_answers(server->port)) {
		MUST(clock_monotonic_ms() < give_up_ms);
		MUST(waitpid(server->pid, NULL, WNOHANG) == 0);
		usleep(5000);
	}
}

void
server_stop(struct server *server)
{
	kill(server->pid, SIGKILL);
	MUST(waitpid(server->pid, NULL, 0) == server->pid);
}
