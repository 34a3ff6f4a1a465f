/*
 * valkey_servers: what the tests of the Valkey client connect to: a fake server that misbehaves by
 * script, and a private real one.
 */
#ifndef TEST_UNIT_VALKEY_SERVERS_H
#define TEST_UNIT_VALKEY_SERVERS_H

#include <sys/types.h>

/*
 * A server that answers the n-th command of each connection with script[n]: bytes as they are;
 * CLOSE closes; the script's end is silence.
 */
#define CLOSE   "\x01 close"
#define HEALTHY "+OK\r\n", "+OK\r\n" /* what the client's greeting wants */

#define SCRIPT_SIZE 8

struct fake {
	struct evconnlistener *listener;
	int port;
	const char *script[SCRIPT_SIZE];
	const char *banner; /* sent before anything is asked; NULL: nothing */
	int accepted;
	struct fake_connection *connections;
};

#define SCRIPT(...) ((const char *const[]){ __VA_ARGS__, NULL })

void fake_start(struct fake *, const char *const *script);
void fake_answer(struct fake *, const char *const *script); /* from the next connection on */
void fake_push(struct fake *, const char *bytes);           /* to every connection */
void fake_stop(struct fake *);                              /* the port refuses from now on */
void fake_restart(struct fake *);                           /* on the same port */

/* A private valkey-server on a port of its own, without persistence; it dies with this process. */
struct server {
	pid_t pid;
	int port;
};

/*
 * The options are more of the command line, NULL at their end, or NULL. A port of 0 is replaced by
 * a free one.
 */
void server_start(struct server *, const char *const *options);
void server_stop(struct server *);
int free_port(void);

#endif
