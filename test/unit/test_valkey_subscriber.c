/* What a subscriber to Valkey promises, with a real server and with scripted ones. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/valkey.h"
#include "test/unit/valkey_fixture.h"
#include "test/unit/valkey_servers.h"

static struct server server;
static struct fake fake;
static struct valkey *admin; /* publishes */

static void
start(void)
{
	fixture_begin();
	server = (struct server){ 0 };
	server_start(&server, NULL);
	admin = fixture_admin(server.port);
	WAIT_UNTIL(valkey_is_up(admin));
}

static void
stop(void)
{
	valkey_free(admin);
	server_stop(&server);
	fixture_end();
}

/* What a subscriber brought. */
static int subscriptions;
static int messages;
static char last_channel[64];
static char last_payload[64];
static size_t last_length;

static void
subscribed(void *argument)
{
	subscriptions++;
}

static void
message_arrived(void *argument, const char *channel, const char *payload, size_t length)
{
	messages++;
	snprintf(last_channel, sizeof(last_channel), "%s", channel);
	memcpy(last_payload, payload, length + 1);
	last_length = length;
}

static struct valkey_subscriber *
subscribe(int port)
{
	static const char *const channels[] = { "config:invalidate", "dashboard" };

	subscriptions = messages = 0;
	return valkey_subscriber_new(base, NULL, fixture_config("redis://127.0.0.1:%d", port),
	    channels, 2, message_arrived, subscribed, NULL);
}

TEST("a subscriber hears its channels and no others")
{
	struct valkey_subscriber *subscriber;
	int rounds;

	start();
	subscriber = subscribe(server.port);
	WAIT_UNTIL(subscriptions == 1);
	CHECK_NUMBER(fixture_logged("[valkey] subscribed to config:invalidate, dashboard"), 1);
	CHECK_TEXT(fixture_ask(admin, "PUBLISH", "other", "x", NULL), "0");
	CHECK_TEXT(fixture_ask(admin, "PUBLISH", "dashboard", "y", NULL), "1");
	WAIT_UNTIL(messages == 1);
	CHECK_TEXT(last_channel, "dashboard");
	CHECK_TEXT(last_payload, "y");
	CHECK_NUMBER(last_length, 1);
	for (rounds = 0; rounds < 1000; rounds++)
		fixture_ask(admin, "PUBLISH", "config:invalidate", "", NULL);
	WAIT_UNTIL(messages == 1001);
	CHECK_NUMBER(last_length, 0);
	valkey_subscriber_free(subscriber);
	stop();
}

TEST("a subscriber resubscribes after each loss and says so")
{
	struct valkey_subscriber *subscriber;

	start();
	subscriber = subscribe(server.port);
	WAIT_UNTIL(subscriptions == 1);
	CHECK_TEXT(fixture_ask(admin, "CLIENT", "KILL", "TYPE", "pubsub", NULL), "1");
	WAIT_UNTIL(subscriptions == 2);
	CHECK_TEXT(fixture_ask(admin, "PUBLISH", "dashboard", "y", NULL), "1");
	WAIT_UNTIL(messages == 1);
	server_stop(&server);
	fixture_turn_for(1000);
	server_start(&server, NULL);
	WAIT_UNTIL(subscriptions == 3);
	CHECK_NUMBER(
	    fixture_logged("[valkey] not subscribed to config:invalidate, dashboard: "), 2);
	valkey_subscriber_free(subscriber);
	stop();
}

TEST("a subscriber notices a connection into nowhere")
{
	struct valkey_subscriber *subscriber;

	start();
	subscriber = subscribe(server.port);
	WAIT_UNTIL(subscriptions == 1);
	kill(server.pid, SIGSTOP);
	WAIT_UNTIL(fixture_logged("no answer to PING within 1000 ms") == 1);
	kill(server.pid, SIGCONT);
	WAIT_UNTIL(subscriptions == 2);
	WAIT_UNTIL(valkey_is_up(admin));
	CHECK_TEXT(fixture_ask(admin, "PUBLISH", "dashboard", "y", NULL), "1");
	WAIT_UNTIL(messages == 1);
	valkey_subscriber_free(subscriber);
	stop();
}

TEST("a quiet subscriber asks whether the server is there, and stays subscribed")
{
	static const char pings[] =
	    "local calls = redis.call('INFO', 'commandstats'):match('cmdstat_ping:calls=(%d+)')"
	    " return calls or '0'";
	struct valkey_subscriber *subscriber;

	start();
	subscriber = subscribe(server.port);
	WAIT_UNTIL(subscriptions == 1);
	WAIT_UNTIL(strcmp(fixture_ask(admin, "EVAL", pings, "0", NULL), "0") != 0);
	fixture_turn_for(1500); /* longer than it waits for the answer */
	CHECK_NUMBER(subscriptions, 1);
	CHECK_TEXT(fixture_ask(admin, "PUBLISH", "dashboard", "y", NULL), "1");
	valkey_subscriber_free(subscriber);
	stop();
}

/* The channels that were confirmed after the first ones. */
static int confirmations;
static char last_confirmed[64];

static void
channel_confirmed(void *argument, const char *channel)
{
	confirmations++;
	snprintf(last_confirmed, sizeof(last_confirmed), "%s", channel);
}

TEST("channels come and go while it listens")
{
	struct valkey_subscriber *subscriber;

	start();
	subscriber = subscribe(server.port);
	valkey_subscriber_on_confirmed(subscriber, channel_confirmed);
	confirmations = 0;
	CHECK(!valkey_subscriber_listens(subscriber));
	WAIT_UNTIL(valkey_subscriber_listens(subscriber));
	valkey_subscriber_add(subscriber, "user:mitra:1");
	valkey_subscriber_add(subscriber, "user:mitra:2");
	WAIT_UNTIL(confirmations == 2);
	CHECK_TEXT(last_confirmed, "user:mitra:2");
	CHECK_TEXT(fixture_ask(admin, "PUBLISH", "user:mitra:1", "x", NULL), "1");
	WAIT_UNTIL(messages == 1);
	CHECK_TEXT(last_channel, "user:mitra:1");
	valkey_subscriber_remove(subscriber, "user:mitra:1");
	valkey_subscriber_remove(subscriber, "user:mitra:1");
	valkey_subscriber_add(subscriber, "user:mitra:3");
	WAIT_UNTIL(confirmations == 3);
	CHECK_TEXT(fixture_ask(admin, "PUBLISH", "user:mitra:1", "x", NULL), "0");
	CHECK_TEXT(fixture_ask(admin, "PUBLISH", "user:mitra:3", "x", NULL), "1");
	WAIT_UNTIL(messages == 2);
	CHECK_NUMBER(subscriptions, 1);
	valkey_subscriber_free(subscriber);
	stop();
}

TEST("the next connection knows the first channels only")
{
	struct valkey_subscriber *subscriber;

	start();
	subscriber = subscribe(server.port);
	valkey_subscriber_on_confirmed(subscriber, channel_confirmed);
	confirmations = 0;
	WAIT_UNTIL(subscriptions == 1);
	valkey_subscriber_add(subscriber, "user:mitra:1");
	WAIT_UNTIL(confirmations == 1);
	CHECK_TEXT(fixture_ask(admin, "CLIENT", "KILL", "TYPE", "pubsub", NULL), "1");
	WAIT_UNTIL(subscriptions == 2);
	CHECK_NUMBER(confirmations, 1);
	CHECK_TEXT(fixture_ask(admin, "PUBLISH", "user:mitra:1", "x", NULL), "0");
	CHECK_TEXT(fixture_ask(admin, "PUBLISH", "dashboard", "x", NULL), "1");
	valkey_subscriber_free(subscriber);
	stop();
}

TEST("an added channel that is not confirmed in time shows a connection into nowhere")
{
	struct valkey_subscriber *subscriber;

	start();
	subscriber = subscribe(server.port);
	WAIT_UNTIL(subscriptions == 1);
	kill(server.pid, SIGSTOP);
	valkey_subscriber_add(subscriber, "user:mitra:1");
	WAIT_UNTIL(fixture_logged("no answer to SUBSCRIBE within 1000 ms") == 1);
	CHECK(!valkey_subscriber_listens(subscriber));
	kill(server.pid, SIGCONT);
	WAIT_UNTIL(subscriptions == 2);
	valkey_subscriber_free(subscriber);
	stop();
}

#define CONFIRMED "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"

/*
 * After a good start the server sends this; the subscriber must not believe it, and subscribe anew.
 */
static void
bad_push(const char *bytes)
{
	const char *const script[] = { "+OK\r\n", CONFIRMED CONFIRMED, NULL };
	struct valkey_subscriber *subscriber;

	fixture_begin();
	fake_start(&fake, script);
	subscriber = subscribe(fake.port);
	WAIT_UNTIL(subscriptions == 1);
	fake_push(&fake, bytes);
	WAIT_UNTIL(subscriptions == 2);
	CHECK_NUMBER(messages, 0);
	CHECK_NUMBER(fixture_logged("[valkey] not subscribed to "), 1);
	valkey_subscriber_free(subscriber);
	fake_stop(&fake);
	fixture_end();
}

TEST("whatever is no message makes a subscriber subscribe anew")
{
	static const char *const pushes[] = {
		"garbage\r\n",
		"+OK\r\n",
		":1\r\n",
		"$-1\r\n",
		"*-1\r\n",
		"*0\r\n",
		"*3\r\n:1\r\n:2\r\n:3\r\n",
		"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$-1\r\n",
		"*3\r\n$7\r\nmessage\r\n*0\r\n$1\r\nb\r\n",
		"*2\r\n$7\r\nmessage\r\n$1\r\na\r\n",
		"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n",
		CONFIRMED,
		"-ERR what\r\n",
	};

	for (size_t i = 0; i < sizeof(pushes) / sizeof(*pushes); i++) {
		unit_about("push %zu", i);
		bad_push(pushes[i]);
	}
}

TEST("a refused or unanswered SUBSCRIBE is tried again, and logged once")
{
	const char *const refused[] = { "+OK\r\n",
		"-NOPERM no permissions to access the channel\r\n", NULL };
	const char *const unanswered[] = { "+OK\r\n", CONFIRMED, NULL };
	const char *const good[] = { "+OK\r\n", CONFIRMED CONFIRMED, NULL };
	struct valkey_subscriber *subscriber;

	fixture_begin();
	fake_start(&fake, refused);
	subscriber = subscribe(fake.port);
	WAIT_UNTIL(fake.accepted == 3);
	fake_answer(&fake, unanswered);
	WAIT_UNTIL(fake.accepted == 5);
	CHECK_NUMBER(subscriptions, 0);
	CHECK_NUMBER(
	    fixture_logged("[valkey] not subscribed to config:invalidate, dashboard: NOPERM"), 1);
	CHECK_NUMBER(fixture_logged("[valkey] not subscribed to "), 1);
	fake_answer(&fake, good);
	WAIT_UNTIL(subscriptions == 1);
	valkey_subscriber_free(subscriber);
	fake_stop(&fake);
	fixture_end();
}
