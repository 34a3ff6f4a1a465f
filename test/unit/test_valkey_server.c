/* The Valkey client with a real server, and with what may happen to one. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/dns.h>
#include <event2/event.h>

#include "common/counters.h"
#include "common/valkey.h"
#include "test/unit/valkey_fixture.h"
#include "test/unit/valkey_servers.h"

/* The promise is 2 s; the rest is for a server that is busy too. */
#define BACK_WITHIN_MS (2 * BACK_MS)

static struct server server;
static struct valkey *client;
static struct valkey *admin; /* does things to the server */

static void
start(const char *const *options)
{
	fixture_begin();
	server = (struct server){ 0 };
	server_start(&server, options);
	client = valkey_new(base, NULL, fixture_config("redis://127.0.0.1:%d", server.port));
	admin = fixture_admin(server.port);
}

static void
start_up(void)
{
	start(NULL);
	WAIT_UNTIL(valkey_is_up(client) && valkey_is_up(admin));
}

static void
stop(void)
{
	valkey_free(client);
	valkey_free(admin);
	server_stop(&server);
	fixture_end();
}

static void
check_back(int64_t since_ran_ms)
{
	WAIT_UNTIL(valkey_is_up(client));
	CHECK(fixture_ran_ms() - since_ran_ms < BACK_WITHIN_MS);
	CHECK_TEXT(fixture_ask(client, "ECHO", "back", NULL), "back");
	CHECK_NUMBER(fixture_logged("[valkey] up again after "), 1);
}

#define BATCHES 10000

static int next_value;

static void
next_answered(void *argument, const char *error, redisReply *const *replies)
{
	CHECK(error == NULL);
	CHECK(replies[0]->integer == ++next_value);
	CHECK(replies[0]->integer == *(const int *)argument);
	CHECK(strcmp(replies[1]->str, "x") == 0 && replies[2]->type == REDIS_REPLY_NIL);
}

TEST("ten thousand batches at once are answered in their order")
{
	static int expected[BATCHES];

	fixture_timeout_ms = GENEROUS_MS;
	start_up();
	next_value = 0;
	for (int i = 0; i < BATCHES; i++) {
		struct valkey_batch *batch = valkey_batch_new(client);

		expected[i] = i + 1;
		valkey_add(batch, "INCR", "counter", NULL);
		valkey_add(batch, "ECHO", "x", NULL);
		valkey_add(batch, "GET", "nothing", NULL);
		valkey_send(batch, next_answered, &expected[i]);
	}
	CHECK_NUMBER(valkey_pending(client), BATCHES);
	WAIT_UNTIL(valkey_pending(client) == 0);
	CHECK_NUMBER(next_value, BATCHES);
	CHECK(valkey_is_up(client));
	stop();
	fixture_timeout_ms = TIMEOUT_MS;
}

TEST("bytes go and come as they are")
{
	const char *values[] = { "SET", "bytes", "a\0b\r\n\xff" };
	const size_t lengths[] = { 3, 5, 6 };
	struct valkey_batch *batch;
	struct valkey_replies *replies;
	const char *error;

	start_up();
	batch = valkey_batch_new(client);
	valkey_add_argv(batch, 3, values, lengths);
	valkey_add(batch, "GET", "bytes", NULL);
	valkey_add(batch, "SET", "", "", NULL);
	valkey_add(batch, "GET", "", NULL);
	replies = valkey_wait(batch, &error);
	CHECK(replies != NULL && replies->reply[1]->len == 6);
	CHECK(memcmp(replies->reply[1]->str, values[2], 6) == 0);
	CHECK(replies->reply[3]->len == 0);
	valkey_replies_free(replies);
	stop();
}

TEST("large replies arrive whole")
{
	static char large[4 << 20];
	const char *values[] = { "SET", "large", large };
	const size_t lengths[] = { 3, 5, sizeof(large) };
	struct valkey_batch *batch;
	struct valkey_replies *replies;
	const char *error;

	fixture_timeout_ms = GENEROUS_MS;
	start_up();
	memset(large, 'x', sizeof(large));
	batch = valkey_batch_new(client);
	valkey_add_argv(batch, 3, values, lengths);
	valkey_add(
	    batch, "EVAL", "for i = 1, 50000 do redis.call('SADD', 'set', i) end", "0", NULL);
	replies = valkey_wait(batch, &error);
	CHECK(replies != NULL);
	valkey_replies_free(replies);

	batch = valkey_batch_new(client);
	valkey_add(batch, "GET", "large", NULL);
	valkey_add(batch, "SMEMBERS", "set", NULL);
	replies = valkey_wait(batch, &error);
	CHECK(replies != NULL && replies->reply[0]->len == sizeof(large));
	CHECK(replies != NULL && replies->reply[1]->elements == 50000);
	valkey_replies_free(replies);
	stop();
	fixture_timeout_ms = TIMEOUT_MS;
}

TEST("the database of the URL is used")
{
	struct valkey *third;

	start_up();
	third = valkey_new(base, NULL, fixture_config("redis://127.0.0.1:%d/3", server.port));
	fixture_ask(third, "SET", "where", "third", NULL);
	CHECK_TEXT(fixture_ask(third, "GET", "where", NULL), "third");
	CHECK_TEXT(fixture_ask(client, "GET", "where", NULL), "");
	valkey_free(third);
	stop();
}

TEST("user and password of the URL are used, and a wrong one keeps it down")
{
	struct valkey *right, *wrong;

	start(SCRIPT(
	    "--requirepass", "other", "--user", "mitrad", "on", ">p:w/@d", "~*", "&*", "+@all"));
	right = valkey_new(
	    base, NULL, fixture_config("redis://mitrad:p%%3Aw%%2F%%40d@127.0.0.1:%d", server.port));
	CHECK_TEXT(fixture_ask(right, "ACL", "WHOAMI", NULL), "mitrad");
	CHECK_TEXT(fixture_ask(right, "CLIENT", "GETNAME", NULL), "mitrad");
	valkey_free(right);
	right = valkey_new(base, NULL, fixture_config("redis://:other@127.0.0.1:%d", server.port));
	CHECK_TEXT(fixture_ask(right, "ACL", "WHOAMI", NULL), "default");
	valkey_free(right);
	wrong = valkey_new(
	    base, NULL, fixture_config("redis://mitrad:guessed@127.0.0.1:%d", server.port));
	fixture_expect_failure(wrong, "WRONGPASS");
	valkey_free(wrong);
	fixture_expect_failure(client, "NOAUTH");
	CHECK_NUMBER(fixture_logged("guessed"), 0);
	stop();
}

TEST("localhost is found, whatever its first address")
{
	struct evdns_base *dns;
	struct valkey *blocking, *evented, *lost;

	start_up();
	dns = evdns_base_new(base, 0);
	CHECK(evdns_base_load_hosts(dns, "/etc/hosts") == 0);
	blocking = valkey_new(base, NULL, fixture_config("redis://localhost:%d", server.port));
	evented = valkey_new(base, dns, fixture_config("redis://localhost:%d", server.port));
	lost = valkey_new(base, dns, fixture_config("redis://nowhere.invalid:%d", server.port));
	CHECK_TEXT(fixture_ask(blocking, "ECHO", "a", NULL), "a");
	CHECK_TEXT(fixture_ask(evented, "ECHO", "a", NULL), "a");
	fixture_expect_failure(lost, "");
	WAIT_UNTIL(strstr(valkey_last_error(lost), "nowhere.invalid") != NULL);
	valkey_free(blocking);
	valkey_free(evented);
	valkey_free(lost);
	evdns_base_free(dns, 1);
	fixture_turn_for(50); /* a cancelled lookup is released by the loop */
	stop();
}

TEST("a server that is killed fails requests at once, and is used again when it is back")
{
	struct answer answer;
	int64_t back_ran_ms;

	start_up();
	valkey_free(admin);
	admin = NULL;
	server_stop(&server);
	SEND(client, &answer, "PING");
	WAIT_UNTIL(answer.calls > 0);
	CHECK(*answer.error != '\0' && answer.after_ran_ms < TIMEOUT_MS);
	fixture_turn_for(1500);
	CHECK(!valkey_is_up(client));
	SEND(client, &answer, "PING");
	WAIT_UNTIL(answer.calls > 0);
	CHECK(
	    strstr(answer.error, "Connection refused") != NULL && answer.after_ran_ms < TIMEOUT_MS);
	back_ran_ms = fixture_ran_ms();
	server_start(&server, NULL);
	check_back(back_ran_ms);
	CHECK_NUMBER(fixture_logged("[valkey] down: "), 1);
	stop();
}

TEST(
    "a stopped server fails the first request at the deadline, the rest at once, and is used again")
{
	struct answer first, second;
	int64_t back_ran_ms;

	start_up();
	valkey_free(admin);
	admin = NULL;
	kill(server.pid, SIGSTOP);
	SEND(client, &first, "PING");
	WAIT_UNTIL(first.calls > 0);
	CHECK_TEXT(first.error, "no answer within 500 ms");
	CHECK(first.after_ms >= TIMEOUT_MS && first.after_ran_ms < SOON_MS);
	SEND(client, &second, "PING");
	WAIT_UNTIL(second.calls > 0);
	CHECK(second.after_ran_ms < TIMEOUT_MS);
	fixture_turn_for(2500);
	back_ran_ms = fixture_ran_ms();
	kill(server.pid, SIGCONT);
	check_back(back_ran_ms);
	CHECK_NUMBER(fixture_logged("[valkey] down: "), 1);
	stop();
}

TEST("a paused server counts as down until the pause is over")
{
	struct answer answer;

	start_up();
	fixture_ask(admin, "CLIENT", "PAUSE", "3000", "ALL", NULL);
	SEND(client, &answer, "PING");
	WAIT_UNTIL(answer.calls > 0);
	CHECK_TEXT(answer.error, "no answer within 500 ms");
	fixture_expect_failure(client, "no answer within 500 ms");
	check_back(answer.sent_ran_ms + 3000);
	stop();
}

TEST("a connection that is killed comes back")
{
	uint64_t disconnects = counters.valkey_disconnects;
	int64_t killed_ran_ms;

	start_up();
	CHECK_TEXT(
	    fixture_ask(admin, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", NULL), "1");
	killed_ran_ms = fixture_ran_ms();
	WAIT_UNTIL(!valkey_is_up(client));
	CHECK_NUMBER(counters.valkey_disconnects, disconnects + 1);
	check_back(killed_ran_ms);
	stop();
}

/* The admin's own breaker opens too; what heals the server must get through before. */
static void
turned_bad(const char *expected_error, const char *command, const char *name, const char *bad,
    const char *good)
{
	struct answer answer;
	struct valkey_batch *batch;
	int64_t healed_ran_ms;

	start_up();
	fixture_ask(admin, command, name, bad, good, NULL);
	SEND(client, &answer, "SET", "a", "b");
	WAIT_UNTIL(answer.calls > 0);
	fixture_check_part(answer.error, expected_error);
	fixture_turn_for(500);
	fixture_expect_failure(client, expected_error);
	batch = valkey_batch_new(admin);
	if (strcmp(command, "REPLICAOF") == 0)
		valkey_add(batch, "REPLICAOF", "NO", "ONE", NULL);
	else
		valkey_add(batch, "CONFIG", "SET", "maxmemory", "0", NULL);
	fixture_send(batch, &answer);
	WAIT_UNTIL(answer.calls > 0);
	healed_ran_ms = fixture_ran_ms();
	check_back(healed_ran_ms);
	stop();
}

TEST("a server that became a replica counts as down until it is a primary again")
{
	turned_bad("READONLY", "REPLICAOF", "127.0.0.1", "1", NULL);
}

TEST("a server without memory counts as down until it has some")
{
	turned_bad("OOM", "CONFIG", "SET", "maxmemory", "1");
}
