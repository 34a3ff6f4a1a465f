/*
 * test_valkey: the Valkey client against servers that misbehave.
 *
 * Each of them is a few lines of script in this process's own event loop; see valkey_fixture.h.
 * HEALTHY answers the greeting.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>
#include <netinet/in.h>

#include "common/clock.h"
#include "common/counters.h"
#include "common/valkey.h"
#include "test/unit/valkey_fixture.h"
#include "test/unit/valkey_servers.h"

static struct fake fake;
static struct valkey *client;

static void
start(const char *const *script)
{
	fixture_begin();
	fake_start(&fake, script);
	client = valkey_new(base, NULL, fixture_config("redis://127.0.0.1:%d", fake.port));
}

static void
start_up(const char *const *script)
{
	start(script);
	WAIT_UNTIL(valkey_is_up(client));
}

static void
stop(void)
{
	valkey_free(client);
	fake_stop(&fake);
	fixture_end();
}

static void
comes_back_when_it_heals(void)
{
	int64_t healed_ms = fixture_ran_ms();

	fake_answer(&fake, SCRIPT(HEALTHY, "+PONG\r\n"));
	WAIT_UNTIL(valkey_is_up(client));
	CHECK(fixture_ran_ms() - healed_ms < BACK_MS);
	CHECK_TEXT(fixture_ask(client, "PING", NULL), "PONG");
}

TEST("batches sent before the first connect wait for it")
{
	struct answer answer;

	start(SCRIPT(HEALTHY, "+PONG\r\n"));
	CHECK(!valkey_is_up(client));
	SEND(client, &answer, "PING");
	CHECK(valkey_pending(client) == 1);
	WAIT_UNTIL(answer.calls > 0);
	CHECK_TEXT(answer.text, "PONG");
	CHECK(valkey_pending(client) == 0);
	CHECK_TEXT(valkey_last_error(client), "");
	stop();
}

TEST("a refused connection fails what waits at once")
{
	struct answer answer;

	start(SCRIPT(HEALTHY));
	fake_stop(&fake);
	SEND(client, &answer, "PING");
	WAIT_UNTIL(answer.calls > 0);
	fixture_check_part(answer.error, "Connection refused");
	CHECK(answer.after_ran_ms < TIMEOUT_MS);
	fake_restart(&fake);
	comes_back_when_it_heals();
	CHECK_NUMBER(fixture_logged("[valkey] down: "), 1);
	CHECK_NUMBER(fixture_logged("[valkey] up again after "), 1);
	stop();
}

TEST("a server that never answers fails what waits at its deadline")
{
	struct answer answer;

	start(SCRIPT(NULL));
	SEND(client, &answer, "PING");
	WAIT_UNTIL(answer.calls > 0);
	CHECK_TEXT(answer.error, "not connected within 500 ms");
	CHECK(answer.after_ms >= TIMEOUT_MS && answer.after_ran_ms < SOON_MS);
	fixture_expect_failure(client, "not connected within 500 ms");
	WAIT_UNTIL(strstr(valkey_last_error(client), "no answer from 127.0.0.1") != NULL);
	comes_back_when_it_heals();
	CHECK_NUMBER(fixture_logged("[valkey] down: "), 1);
	stop();
}

/* A full backlog: the kernel drops the SYN, as a network into nowhere does. */
TEST("the end of a black hole is noticed within 2 s")
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int hole = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fill[4], one = 1;
	struct answer answer;

	fixture_begin();
	CHECK(setsockopt(hole, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
	CHECK(
	    bind(hole, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(hole, 0) == 0);
	CHECK(getsockname(hole, (struct sockaddr *)&address, &length) == 0);
	for (int i = 0; i < 4; i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(fill[i], (struct sockaddr *)&address, sizeof(address));
	}
	fake = (struct fake){ .port = ntohs(address.sin_port) };
	client = valkey_new(base, NULL, fixture_config("redis://127.0.0.1:%d", fake.port));
	SEND(client, &answer, "PING");
	WAIT_UNTIL(answer.calls > 0);
	CHECK(answer.after_ms >= TIMEOUT_MS && answer.after_ran_ms < SOON_MS);
	WAIT_UNTIL(strstr(valkey_last_error(client), "no connection to 127.0.0.1") != NULL);
	for (int i = 0; i < 4; i++)
		close(fill[i]);
	close(hole);
	fake_restart(&fake);
	comes_back_when_it_heals();
	stop();
}

/* The answer to a command, after a good start. */
static void
bad_answer(const char *bytes, const char *expected_error, int64_t least_ms, int64_t most_ms)
{
	uint64_t disconnects = counters.valkey_disconnects;
	struct answer first, second;

	start_up(SCRIPT(HEALTHY, bytes));
	SEND(client, &first, "GET", "a");
	SEND(client, &second, "GET", "b");
	WAIT_UNTIL(second.calls > 0);
	CHECK(first.calls == 1 && second.calls == 1);
	fixture_check_part(first.error, expected_error);
	fixture_check_part(second.error, expected_error);
	CHECK(first.after_ms >= least_ms && first.after_ran_ms < most_ms);
	CHECK(!valkey_is_up(client));
	fixture_check_part(valkey_last_error(client), expected_error);
	CHECK(counters.valkey_disconnects == disconnects + 1);
	fixture_expect_failure(client, "");
	comes_back_when_it_heals();
	CHECK_NUMBER(fixture_logged("[valkey] down: "), 1);
	CHECK_NUMBER(fixture_logged("[valkey] up again after "), 1);
	stop();
}

TEST("garbage drops the connection")
{
	bad_answer("HTTP/1.1 400 Bad Request\r\n\r\n", "not Valkey's protocol", 0, TIMEOUT_MS);
}

TEST("a reply of a later protocol drops the connection")
{
	bad_answer(">1\r\n+x\r\n", "not Valkey's protocol", 0, TIMEOUT_MS);
}

TEST("an array of two thousand million elements drops the connection")
{
	bad_answer("*2147483647\r\n", "not Valkey's protocol", 0, TIMEOUT_MS);
}

TEST("deep nesting drops the connection")
{
	bad_answer("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n+x\r\n",
	    "not Valkey's protocol", 0, TIMEOUT_MS);
}

TEST("half a reply then silence fails at the deadline")
{
	bad_answer("$10\r\nhalf", "no answer within 500 ms", TIMEOUT_MS, SOON_MS);
}

TEST("silence fails at the deadline")
{
	bad_answer(NULL, "no answer within 500 ms", TIMEOUT_MS, SOON_MS);
}

TEST("a connection closed without an answer fails at once")
{
	bad_answer(CLOSE, "the server closed the connection", 0, TIMEOUT_MS);
}

TEST("a loading server counts as down")
{
	bad_answer("-LOADING Valkey is loading the dataset in memory\r\n",
	    "LOADING Valkey is loading", 0, TIMEOUT_MS);
}

TEST("a replica counts as down")
{
	bad_answer("-READONLY You can't write against a read only replica.\r\n",
	    "READONLY You can't", 0, TIMEOUT_MS);
}

TEST("other errors are answers")
{
	start_up(SCRIPT(HEALTHY, "-WRONGTYPE Operation against a key\r\n", "-OOMPH is no OOM\r\n"));
	CHECK(strcmp(fixture_ask(client, "GET", "a", NULL), "WRONGTYPE Operation against a key") ==
	      0);
	CHECK_TEXT(fixture_ask(client, "GET", "a", NULL), "OOMPH is no OOM");
	CHECK(valkey_is_up(client));
	stop();
}

TEST("a connection closed in mid reply fails at once")
{
	struct answer answer;
	struct valkey_batch *batch;

	start_up(SCRIPT(HEALTHY, "$10\r\nhalf", CLOSE));
	batch = valkey_batch_new(client);
	valkey_add(batch, "GET", "a", NULL);
	valkey_add(batch, "GET", "b", NULL);
	fixture_send(batch, &answer);
	WAIT_UNTIL(answer.calls > 0);
	CHECK_TEXT(answer.error, "the server closed the connection");
	CHECK(answer.after_ran_ms < TIMEOUT_MS);
	comes_back_when_it_heals();
	stop();
}

TEST("a reply that nobody asked for drops the connection")
{
	start_up(SCRIPT(HEALTHY, "+OK\r\n+OK\r\n"));
	CHECK_TEXT(fixture_ask(client, "GET", "a", NULL), "OK");
	WAIT_UNTIL(!valkey_is_up(client));
	CHECK_TEXT(valkey_last_error(client), "a reply that nobody asked for");
	comes_back_when_it_heals();
	stop();
}

TEST("a reply too many to the greeting is not taken for the first command's")
{
	struct answer answer;

	start(SCRIPT("+OK\r\n", "+OK\r\n:1\r\n"));
	SEND(client, &answer, "GET", "a");
	WAIT_UNTIL(answer.calls > 0);
	CHECK_TEXT(answer.error, "a reply that nobody asked for");
	comes_back_when_it_heals();
	stop();
}

static void
a_greeting_that_fails(const char *const *script, const char *banner, const char *expected_error)
{
	struct answer answer;

	fixture_begin();
	fake_start(&fake, script);
	fake.banner = banner;
	client = valkey_new(
	    base, NULL, fixture_config("redis://:secret@127.0.0.1:%d/3", fake.port));
	SEND(client, &answer, "GET", "a");
	WAIT_UNTIL(answer.calls > 0);
	fixture_check_part(answer.error, expected_error);
	WAIT_UNTIL(fake.accepted >= 3);
	fixture_check_part(valkey_last_error(client), expected_error);
	fixture_expect_failure(client, expected_error);
	CHECK_NUMBER(fixture_logged("[valkey] down: "), 1);
	CHECK_NUMBER(fixture_logged("secret"), 0);
	fake.banner = NULL;
	fake_answer(&fake, SCRIPT("+OK\r\n", "+OK\r\n", "+OK\r\n", "+OK\r\n"));
	WAIT_UNTIL(valkey_is_up(client));
	stop();
}

TEST("a wrong password keeps it down")
{
	a_greeting_that_fails(SCRIPT("-WRONGPASS invalid username-password pair\r\n",
				  "-NOAUTH x\r\n", "-NOAUTH x\r\n"),
	    NULL, "WRONGPASS invalid");
}

TEST("a server that repeats the password does not get it logged")
{
	a_greeting_that_fails(
	    SCRIPT("-ERR unknown command 'AUTH', with args beginning with: 'secret'\r\n"), NULL,
	    "ERR unknown command AUTH");
}

TEST("a missing database keeps it down")
{
	a_greeting_that_fails(SCRIPT("+OK\r\n", "-ERR DB index is out of range\r\n"), NULL,
	    "DB index is out of range");
}

TEST("a server that takes no writes keeps it down")
{
	a_greeting_that_fails(
	    SCRIPT("+OK\r\n", "+OK\r\n", "-MISCONF Valkey is configured to save\r\n"), NULL,
	    "MISCONF Valkey");
}

TEST("a full server keeps it down")
{
	a_greeting_that_fails(
	    SCRIPT(CLOSE), "-ERR max number of clients reached\r\n", "max number of clients");
}

TEST("a server that is no Valkey keeps it down")
{
	a_greeting_that_fails(SCRIPT(":1\r\n"), NULL, "not a Valkey server");
}

TEST("a server without client names will do")
{
	start_up(SCRIPT("+OK\r\n", "-ERR unknown subcommand 'SETNAME'\r\n", "+PONG\r\n"));
	CHECK_TEXT(fixture_ask(client, "PING", NULL), "PONG");
	stop();
}

static int resent;

static void
send_again(void *argument, const char *error, redisReply *const *replies)
{
	struct valkey_batch *batch;

	CHECK(error != NULL && replies == NULL);
	if (++resent == 1000)
		return;
	batch = valkey_batch_new(client);
	valkey_add(batch, "PING", NULL);
	valkey_send(batch, send_again, NULL);
	CHECK(resent <= 1000);
}

TEST("a callback that sends again while it is down neither recurses nor stops the loop")
{
	struct valkey_batch *batch;
	int before;

	start_up(SCRIPT(HEALTHY, CLOSE));
	fake_stop(&fake);
	resent = 0;
	batch = valkey_batch_new(client);
	valkey_add(batch, "PING", NULL);
	valkey_send(batch, send_again, NULL);
	WAIT_UNTIL(resent > 0);
	before = resent;
	fixture_turn(fixture_give_up_ms());
	CHECK(resent <= before + 1);
	WAIT_UNTIL(resent == 1000);
	stop();
}

TEST("freeing the client fails what is in flight")
{
	struct answer answers[3];

	start_up(SCRIPT(HEALTHY));
	for (int i = 0; i < 3; i++)
		SEND(client, &answers[i], "PING");
	stop();
	for (int i = 0; i < 3; i++)
		CHECK(
		    answers[i].calls == 1 && strcmp(answers[i].error, "the client is closed") == 0);

	start(SCRIPT(HEALTHY));
	SEND(client, &answers[0], "PING");
	stop();
	CHECK(answers[0].calls == 1);
}

static int state_changes;
static bool last_state;

static void
state_changed(void *argument, bool up)
{
	state_changes++;
	last_state = up;
	CHECK(valkey_is_up(client) == up);
}

TEST("every change of state is told once")
{
	state_changes = 0;
	start(SCRIPT(HEALTHY, CLOSE));
	valkey_on_state(client, state_changed, NULL);
	WAIT_UNTIL(state_changes == 1);
	CHECK(last_state);
	fake_answer(&fake, SCRIPT("-LOADING\r\n"));
	fixture_expect_failure(client, "closed");
	CHECK(state_changes == 2 && !last_state);
	WAIT_UNTIL(fake.accepted >= 4);
	CHECK(state_changes == 2);
	comes_back_when_it_heals();
	CHECK(state_changes == 3 && last_state);
	stop();
}

TEST("a process that was busy itself does not blame the server")
{
	struct answer answer;

	start_up(SCRIPT(HEALTHY, "+PONG\r\n"));
	SEND(client, &answer, "PING");
	usleep(
	    2 * TIMEOUT_MS * 1000); /* this stands for the process's being busy, not for waiting */
	WAIT_UNTIL(answer.calls > 0);
	CHECK_TEXT(answer.text, "PONG");
	CHECK(valkey_is_up(client));
	stop();
}

TEST("waiting gives the replies or the reason")
{
	struct valkey_batch *batch;
	struct valkey_replies *replies;
	const char *error;

	start_up(SCRIPT(HEALTHY, ":1\r\n", "$-1\r\n", CLOSE));
	batch = valkey_batch_new(client);
	valkey_add(batch, "INCR", "a", NULL);
	valkey_add(batch, "GET", "b", NULL);
	replies = valkey_wait(batch, &error);
	CHECK(replies != NULL && error == NULL && replies->count == 2);
	CHECK(replies->reply[0]->integer == 1 && replies->reply[1]->type == REDIS_REPLY_NIL);
	valkey_replies_free(replies);

	batch = valkey_batch_new(client);
	valkey_add(batch, "GET", "b", NULL);
	CHECK(valkey_wait(batch, &error) == NULL && strstr(error, "closed") != NULL);

	batch = valkey_batch_new(client);
	CHECK(valkey_wait(batch, &error) == NULL && error != NULL);
	stop();
}

TEST("a batch of no commands ends too")
{
	struct valkey_replies *replies;
	const char *error;

	start_up(SCRIPT(HEALTHY));
	replies = valkey_wait(valkey_batch_new(client), &error);
	CHECK(replies != NULL && replies->count == 0);
	valkey_replies_free(replies);
	stop();
}

/* From the seventh on, by the clock; the first of those may be seen late, so half of the time will do. */
TEST("probes become as rare as four a second at most, and never end")
{
	enum { PROBES = 8, LEAST_MS = 250 };
	int64_t began_ms;

	start(SCRIPT("-LOADING\r\n"));
	WAIT_UNTIL(fake.accepted >= 7);
	began_ms = clock_monotonic_ms();
	WAIT_UNTIL(fake.accepted >= 7 + PROBES);
	CHECK(clock_monotonic_ms() - began_ms >= PROBES * LEAST_MS / 2);
	stop();
}
