/* What pg.h promises, against a real server. */
#include "test/unit/unit.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/dns.h>

#include "common/config.h"
#include "common/counters.h"
#include "common/pg.h"

#include "test/unit/pg_fixture.h"

enum {
	ECHO,
	SLEEP,
	DIVIDE,
	RAISE,
	PID,
	DEFERRED,
	SHAPE,
	SEVERAL,
	TABLE_SIZE,
};

static const struct pg_statement table[TABLE_SIZE] = {
	[ECHO] = { "echo", "SELECT $1::text AS value", 1 },
	[SLEEP] = { "sleep", "SELECT pg_sleep($1::float8)", 1 },
	[DIVIDE] = { "divide", "SELECT 1 / $1::int AS value", 1 },
	[RAISE] = { "raise", "SELECT unit_pg.raise($1)", 1 },
	[PID] = { "pid", "SELECT pg_backend_pid() AS pid", 0 },
	[DEFERRED] = { "deferred",
	    "INSERT INTO unit_pg.child VALUES ($1::int) RETURNING parent AS value", 1 },
	[SHAPE] = { "shape", "SELECT * FROM unit_pg.shape", 0 },
	[SEVERAL] = { "several",
	    "SELECT n AS number, n % 2 = 0 AS even, nullif(n, 3)::text AS text,"
	    " NULL::bool AS nothing FROM generate_series(1, $1::int) n",
	    1 },
};

static const char schema_sql[] =
    "DROP SCHEMA IF EXISTS unit_pg CASCADE; CREATE SCHEMA unit_pg;"
    "CREATE TABLE unit_pg.parent (id int PRIMARY KEY);"
    "CREATE TABLE unit_pg.child (parent int REFERENCES unit_pg.parent DEFERRABLE"
    " INITIALLY DEFERRED);"
    "CREATE TABLE unit_pg.shape (a int); INSERT INTO unit_pg.shape VALUES (1);"
    "CREATE FUNCTION unit_pg.raise(code text) RETURNS void LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'raised %', code USING ERRCODE = code; END $$";

/* What became of a submission. */
struct answer {
	int calls;
	enum pg_status status;
	char text[64];
	char sqlstate[6];
	int64_t pid;
};

#define SHORT_MS 2500 /* for the tests of deadlines; the others are not to meet any */
#define LONG_MS  15000

static struct config config;

static void
answered(void *argument, enum pg_status status, const struct rows *rows)
{
	struct answer *answer = argument;

	answer->calls++;
	answer->status = status;
	CHECK((rows != NULL) == (status == PG_OK || status == PG_FAILED));
	if (status == PG_OK && rows_has_column(rows, "value"))
		snprintf(answer->text, sizeof(answer->text), "%.63s", rows_text(rows, "value"));
	if (status == PG_OK && rows_has_column(rows, "pid"))
		answer->pid = rows_integer(rows, "pid");
	if (status == PG_FAILED)
		snprintf(answer->sqlstate, sizeof(answer->sqlstate), "%s", rows_sqlstate(rows));
}

static void
submit(struct pg *pool, int statement, const char *value, struct answer *answer)
{
	*answer = (struct answer){ .calls = 0 };
	pg_submit(pool, statement, table[statement].parameters, &value, answered, answer);
	CHECK(answer->calls == 0);
}

static struct answer
ask(struct pg *pool, int statement, const char *value)
{
	struct answer answer;

	submit(pool, statement, value, &answer);
	RUN_UNTIL(answer.calls > 0);
	return answer;
}

static struct pg *
pool_begin(const char *url, int connections, int timeout_ms)
{
	config.database_url = url;
	config.database_timeout_ms = timeout_ms;
	return pg_new(base, NULL, &config, connections, table, TABLE_SIZE);
}

/* It is up when it returns. */
static struct pg *
pool_new(const char *url, int connections, int timeout_ms)
{
	struct pg *pool = pool_begin(url, connections, timeout_ms);

	RUN_UNTIL(pg_is_up(pool));
	return pool;
}

TEST("the schema of these tests is made anew")
{
	admin_run(schema_sql);
}

TEST("rows are read by name")
{
	struct pg *pool = pool_new(server_url, 1, LONG_MS);
	struct rows *rows;
	const char *count = "4";

	CHECK(pg_wait(pool, SEVERAL, 1, &count, &rows) == PG_OK);
	CHECK(rows_count(rows) == 4);
	CHECK(rows_has_column(rows, "even") && !rows_has_column(rows, "odd"));
	CHECK(rows_integer(rows, "number") == 1 && rows_integer_at(rows, 3, "number") == 4);
	CHECK(!rows_flag(rows, "even") && rows_flag_at(rows, 1, "even"));
	CHECK(strcmp(rows_text(rows, "text"), "1") == 0 && rows_text_at(rows, 2, "text") == NULL);
	CHECK(!rows_flag(rows, "nothing") && rows_integer(rows, "nothing") == 0);
	CHECK(rows_text_at(rows, 4, "text") == NULL);
	CHECK(strcmp(rows_sqlstate(rows), "") == 0 && strcmp(rows_error(rows), "") == 0);
	rows_free(rows);
	count = NULL;
	CHECK(pg_wait(pool, SEVERAL, 1, &count, &rows) == PG_OK && rows_count(rows) == 0);
	rows_free(rows);
	pg_free(pool);
}

TEST("an error in the pipeline fails nobody else")
{
	struct pg *pool = pool_new(server_url, 2, LONG_MS);
	struct answer answers[210];

	for (int i = 0; i < 210; i++)
		submit(pool, i % 7 == 3 ? DIVIDE : ECHO, i % 7 == 3 ? "0" : "same", &answers[i]);
	CHECK(pg_pending(pool) == 210);
	RUN_UNTIL(pg_pending(pool) == 0);
	for (int i = 0; i < 210; i++) {
		CHECK(answers[i].calls == 1);
		CHECK(answers[i].status == (i % 7 == 3 ? PG_FAILED : PG_OK));
		CHECK(strcmp(answers[i].sqlstate, i % 7 == 3 ? "22012" : "") == 0);
		CHECK(strcmp(answers[i].text, i % 7 == 3 ? "" : "same") == 0);
	}
	pg_free(pool);
}

TEST("large values pass both ways at once")
{
	enum { BYTES = 1000000 };
	struct pg *pool = pool_new(server_url, 1, LONG_MS);
	struct answer answers[8];
	char *value = malloc(BYTES + 1);

	CHECK(value != NULL);
	memset(value, 'x', BYTES);
	value[BYTES] = '\0';
	for (int i = 0; i < 8; i++)
		submit(pool, ECHO, value, &answers[i]);
	RUN_UNTIL(pg_pending(pool) == 0);
	for (int i = 0; i < 8; i++)
		CHECK(answers[i].calls == 1 && answers[i].status == PG_OK &&
		      answers[i].text[62] == 'x');
	free(value);
	pg_free(pool);
}

struct chain {
	struct pg *pool;
	int left;
	struct answer last;
};

static void
chain_next(void *argument, enum pg_status status, const struct rows *rows)
{
	struct chain *chain = argument;

	if (chain->left-- > 0)
		pg_submit(chain->pool, ECHO, 1, (const char *const[]){ "on" }, chain_next, chain);
	else
		answered(&chain->last, status, rows);
}

TEST("a callback may submit")
{
	struct chain chain = { .pool = pool_new(server_url, 1, LONG_MS), .left = 50 };

	pg_submit(chain.pool, ECHO, 1, (const char *const[]){ "on" }, chain_next, &chain);
	RUN_UNTIL(chain.last.calls == 1);
	CHECK(chain.last.status == PG_OK && pg_pending(chain.pool) == 0);
	pg_free(chain.pool);
}

TEST("a failed commit is a failed statement")
{
	struct pg *pool = pool_new(server_url, 1, LONG_MS);
	struct answer deferred, after;

	submit(pool, DEFERRED, "7", &deferred);
	submit(pool, ECHO, "fine", &after);
	RUN_UNTIL(pg_pending(pool) == 0);
	CHECK(deferred.calls == 1 && deferred.status == PG_FAILED &&
	      strcmp(deferred.sqlstate, "23503") == 0);
	CHECK(after.calls == 1 && after.status == PG_OK);
	pg_free(pool);
}

TEST("errors mean what they say about the server")
{
	static const struct {
		const char *sqlstate;
		enum pg_status status;
		bool same_session;
	} cases[] = {
		{ "P0001", PG_FAILED, true },
		{ "23505", PG_FAILED, true },
		{ "0A000", PG_FAILED, true },
		{ "40P01", PG_FAILED, true },
		{ "57014", PG_TIMEOUT, true },
		{ "55P03", PG_TIMEOUT, true },
		{ "25006", PG_UNAVAILABLE, false },
		{ "26000", PG_UNAVAILABLE, false },
		{ "53300", PG_UNAVAILABLE, false },
		{ "57P01", PG_UNAVAILABLE, false },
		{ "08006", PG_UNAVAILABLE, false },
	};
	struct pg *pool = pool_new(server_url, 1, LONG_MS);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t pid = ask(pool, PID, NULL).pid;
		struct answer answer = ask(pool, RAISE, cases[i].sqlstate);

		CHECK(answer.calls == 1 && answer.status == cases[i].status);
		if (answer.status == PG_FAILED)
			CHECK(strcmp(answer.sqlstate, cases[i].sqlstate) == 0);
		CHECK((ask(pool, PID, NULL).pid == pid) == cases[i].same_session);
	}
	pg_free(pool);
}

/* Whether the server's own limit ended it, and so in time for who is behind. */
static bool
outlives_slow_statement(struct pg *pool)
{
	int64_t pid = ask(pool, PID, NULL).pid;
	struct answer slow, behind;

	submit(pool, SLEEP, "60", &slow);
	submit(pool, ECHO, "patient", &behind);
	RUN_UNTIL(pg_pending(pool) == 0);
	CHECK(slow.calls == 1 && slow.status == PG_TIMEOUT);
	CHECK(behind.calls == 1);
	return behind.status == PG_OK && ask(pool, PID, NULL).pid == pid;
}

/* The server has 250 ms to say so, which is not much if the machine is busy with others: any of five goes will do. */
TEST("a slow statement times out and its connection lives on")
{
	struct pg *pool = pool_new(server_url, 1, SHORT_MS);
	bool outlived = false;

	for (int go = 0; go < 5 && !outlived; go++)
		outlived = outlives_slow_statement(pool);
	CHECK(outlived);
	pg_free(pool);
}

TEST("what is stuck behind slow statements times out")
{
	struct pg *pool = pool_new(server_url, 1, SHORT_MS);
	uint64_t lost = counters.pg_disconnects;
	struct answer slow[2], behind, later;

	submit(pool, SLEEP, "60", &slow[0]);
	submit(pool, SLEEP, "60", &slow[1]);
	submit(pool, ECHO, "stuck", &behind);
	run_for(SHORT_MS / 8);
	submit(pool, ECHO, "later", &later);
	RUN_UNTIL(pg_pending(pool) == 0);
	CHECK(slow[0].calls == 1 && slow[0].status == PG_TIMEOUT);
	CHECK(slow[1].calls == 1 && slow[1].status == PG_TIMEOUT);
	CHECK(behind.calls == 1 && behind.status == PG_TIMEOUT);
	CHECK(later.calls == 1 && later.status == PG_UNAVAILABLE);
	CHECK(counters.pg_disconnects == lost + 1);
	CHECK(ask(pool, ECHO, "again").status == PG_OK);
	pg_free(pool);
}

static void
terminate(int64_t pid)
{
	char sql[64];

	snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%lld)", (long long)pid);
	admin_run(sql);
}

TEST("a killed backend ends what is in flight only")
{
	struct pg *pool = pool_new(server_url, 1, LONG_MS);
	int64_t pid = ask(pool, PID, NULL).pid;
	struct answer flight[3], next;

	submit(pool, SLEEP, "10", &flight[0]);
	submit(pool, ECHO, "lost", &flight[1]);
	submit(pool, ECHO, "lost", &flight[2]);
	CHECK(event_base_loop(base, EVLOOP_NONBLOCK) == 0);
	terminate(pid);
	RUN_UNTIL(flight[0].calls > 0);
	submit(pool, PID, NULL, &next);
	RUN_UNTIL(pg_pending(pool) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(flight[i].calls == 1 && flight[i].status == PG_UNAVAILABLE);
	CHECK(next.calls == 1 && next.status == PG_OK && next.pid != pid);
	pg_free(pool);
}

TEST("an idle connection that dies is replaced unasked")
{
	struct pg *pool = pool_new(server_url, 1, LONG_MS);
	int64_t pid = ask(pool, PID, NULL).pid;

	terminate(pid);
	RUN_UNTIL(!pg_is_up(pool));
	CHECK(strstr(pg_last_error(pool), "administrator command") != NULL);
	RUN_UNTIL(pg_is_up(pool));
	CHECK(strcmp(pg_last_error(pool), "") == 0);
	CHECK(ask(pool, PID, NULL).pid != pid);
	pg_free(pool);
}

/* The promise is 2 s; the rest is for a server that is busy too. */
static void
proxy_back(struct pg *pool)
{
	int64_t back_ran_ms = ran_ms();

	proxy_set(FORWARD);
	RUN_UNTIL(pg_is_up(pool));
	CHECK(ran_ms() - back_ran_ms < 4000);
	CHECK(ask(pool, ECHO, "back").status == PG_OK);
}

TEST("a server that refuses fails fast and is found again")
{
	struct pg *pool = pool_new(proxy_url, 2, LONG_MS);
	struct answer flight, waiting;

	submit(pool, SLEEP, "10", &flight);
	CHECK(event_base_loop(base, EVLOOP_NONBLOCK) == 0);
	proxy_set(REFUSE);
	RUN_UNTIL(flight.calls > 0);
	CHECK(flight.status == PG_UNAVAILABLE);
	submit(pool, ECHO, "waits for the next attempt", &waiting);
	RUN_UNTIL(waiting.calls > 0);
	CHECK(waiting.status == PG_UNAVAILABLE && !pg_is_up(pool));
	CHECK(strstr(pg_last_error(pool), "refused") != NULL);
	submit(pool, ECHO, "fails fast", &waiting);
	REQUIRE(event_base_loop(base, EVLOOP_NONBLOCK) == 0);
	CHECK(waiting.calls == 1 && waiting.status == PG_UNAVAILABLE);
	proxy_back(pool);
	CHECK(flight.calls == 1 && waiting.calls == 1);
	pg_free(pool);
}

TEST("a server that falls silent costs a deadline and is found again")
{
	struct pg *pool = pool_new(proxy_url, 1, SHORT_MS);
	struct answer flight, later;

	proxy_set(SWALLOW);
	submit(pool, ECHO, "swallowed", &flight);
	run_for(SHORT_MS / 8);
	submit(pool, ECHO, "swallowed", &later);
	RUN_UNTIL(flight.calls > 0);
	CHECK(flight.status == PG_TIMEOUT && !pg_is_up(pool));
	RUN_UNTIL(later.calls > 0);
	CHECK(later.status == PG_UNAVAILABLE);
	/* The attempt to reconnect meets silence too, and from then on it counts as down. */
	RUN_UNTIL(strstr(pg_last_error(pool), "does not answer") != NULL);
	CHECK(ask(pool, ECHO, "fails fast").status == PG_UNAVAILABLE);
	proxy_back(pool);
	CHECK(flight.calls == 1 && later.calls == 1);
	pg_free(pool);
}

TEST("while the first attempt is under way submissions wait")
{
	struct answer waiting;
	struct pg *pool;

	proxy_set(SWALLOW);
	pool = pool_begin(proxy_url, 2, LONG_MS);
	submit(pool, ECHO, "early", &waiting);
	run_for(50);
	CHECK(waiting.calls == 0);
	proxy_set(FORWARD);
	RUN_UNTIL(waiting.calls > 0);
	CHECK(waiting.status == PG_OK);
	pg_free(pool);
}

TEST("a black hole at start is given up before the deadline")
{
	struct answer waiting;
	struct pg *pool;

	proxy_set(SWALLOW);
	pool = pool_begin(proxy_url, 2, SHORT_MS);
	submit(pool, ECHO, "early", &waiting);
	RUN_UNTIL(waiting.calls > 0);
	CHECK(waiting.status == PG_UNAVAILABLE); /* and not PG_TIMEOUT */
	proxy_back(pool);
	pg_free(pool);
}

TEST("a schema that is too old keeps the pool down until it is new")
{
	struct pg *pool;

	admin_run("ALTER TABLE unit_pg.shape RENAME TO gone");
	pool = pool_begin(server_url, 1, LONG_MS);
	CHECK(ask(pool, ECHO, "no").status == PG_UNAVAILABLE);
	CHECK(strstr(pg_last_error(pool), "cannot prepare shape: ") != NULL);
	admin_run("ALTER TABLE unit_pg.gone RENAME TO shape");
	RUN_UNTIL(pg_is_up(pool));
	CHECK(ask(pool, ECHO, "yes").status == PG_OK);
	pg_free(pool);
}

TEST("a migration under a live session heals")
{
	struct pg *pool = pool_new(server_url, 1, LONG_MS);

	CHECK(ask(pool, SHAPE, NULL).status == PG_OK);
	admin_run("ALTER TABLE unit_pg.shape ADD COLUMN b int");
	CHECK(ask(pool, SHAPE, NULL).status == PG_UNAVAILABLE);
	CHECK(ask(pool, SHAPE, NULL).status == PG_OK);
	pg_free(pool);
}

TEST("pg_free() ends what is pending, once")
{
	struct pg *pool = pool_new(server_url, 1, LONG_MS);
	struct answer answers[100];

	submit(pool, SLEEP, "10", &answers[0]);
	CHECK(event_base_loop(base, EVLOOP_NONBLOCK) == 0);
	for (int i = 1; i < 100; i++)
		submit(pool, ECHO, "never", &answers[i]);
	pg_free(pool);
	for (int i = 0; i < 100; i++)
		CHECK(answers[i].calls == 1 && answers[i].status == PG_UNAVAILABLE);
}

/* In proxy_url, in the place of the address, which is as long. */
static void
proxy_name(const char *was, const char *name)
{
	char *place = strstr(proxy_url, was);

	REQUIRE(place != NULL && strlen(was) == strlen(name));
	memcpy(place, name, strlen(name));
}

TEST("a name is resolved as the hosts file says")
{
	struct evdns_base *dns = evdns_base_new(base, 0);
	struct pg *pool;

	evdns_base_load_hosts(dns, NULL);
	proxy_name("127.0.0.1", "localhost");
	config.database_url = proxy_url;
	config.database_timeout_ms = LONG_MS;
	pool = pg_new(base, dns, &config, 1, table, TABLE_SIZE);
	CHECK(ask(pool, ECHO, "named").status == PG_OK);
	pg_free(pool);
	proxy_name("localhost", "127.0.0.1");
	evdns_base_free(dns, 1);
}

TEST("a name server that is silent stops nobody")
{
	struct evdns_base *dns = evdns_base_new(base, 0);
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t length = sizeof(address);
	int silent = socket(AF_INET, SOCK_DGRAM, 0);
	struct pg *pool;

	REQUIRE(bind(silent, (struct sockaddr *)&address, length) == 0);
	REQUIRE(getsockname(silent, (struct sockaddr *)&address, &length) == 0);
	REQUIRE(
	    evdns_base_nameserver_sockaddr_add(dns, (struct sockaddr *)&address, length, 0) == 0);
	proxy_name("127.0.0.1", "a.invalid");
	config.database_url = proxy_url;
	config.database_timeout_ms = LONG_MS;
	pool = pg_new(base, dns, &config, 2, table, TABLE_SIZE);
	CHECK(ask(pool, ECHO, "nobody to ask").status == PG_UNAVAILABLE);
	CHECK(strstr(pg_last_error(pool), "resolver does not answer") != NULL);
	pg_free(pool);
	proxy_name("a.invalid", "127.0.0.1");
	run_for(50); /* cancelled look-ups are called back in a later turn */
	evdns_base_free(dns, 1);
	close(silent);
}

TEST("the schema of these tests is gone again")
{
	admin_run("DROP SCHEMA unit_pg CASCADE");
}
