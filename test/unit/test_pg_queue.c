/* Who waits in the queue to a real server, who is refused, and behind whom a statement goes. */
#include "test/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "common/pg.h"

#include "test/unit/pg_fixture.h"

enum {
	ECHO,
	SLEEP,
	PID,
	TABLE_SIZE,
};

static const struct pg_statement table[TABLE_SIZE] = {
	[ECHO] = { "echo", "SELECT $1::text AS value", 1 },
	[SLEEP] = { "sleep", "SELECT pg_sleep($1::float8)", 1 },
	[PID] = { "pid", "SELECT pg_backend_pid() AS pid", 0 },
};

/* What became of a submission. */
struct answer {
	int calls;
	enum pg_status status;
	int64_t pid;
};

#define FLIGHT   16    /* what a connection takes before others wait in the queue */
#define SHORT_MS 12000 /* for the test of the time; the others are not to wait for so long */
#define LONG_MS  15000

static struct config config;

static void
answered(void *argument, enum pg_status status, const struct rows *rows)
{
	struct answer *answer = argument;

	answer->calls++;
	answer->status = status;
	if (status == PG_OK && rows_has_column(rows, "pid"))
		answer->pid = rows_integer(rows, "pid");
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

static bool
all_went_well(const struct answer *answers, int count)
{
	for (int i = 0; i < count; i++)
		if (answers[i].calls != 1 || answers[i].status != PG_OK)
			return false;
	return true;
}

/* It is up when it returns. */
static struct pg *
pool_new(int connections, int timeout_ms)
{
	struct pg *pool;

	config.database_url = server_url;
	config.database_timeout_ms = timeout_ms;
	pool = pg_new(base, NULL, &config, connections, table, TABLE_SIZE);
	RUN_UNTIL(pg_is_up(pool));
	return pool;
}

/* Of two statements submitted together, each gets its own connection as soon as there are two. */
static bool
both_are_up(struct pg *pool)
{
	struct answer answers[2];

	submit(pool, PID, NULL, &answers[0]);
	submit(pool, PID, NULL, &answers[1]);
	RUN_UNTIL(pg_pending(pool) == 0);
	return answers[0].pid != answers[1].pid;
}

TEST("a slow statement holds up no other connection")
{
	struct pg *pool = pool_new(2, LONG_MS);
	struct answer slow, answers[100];

	while (!both_are_up(pool))
		run_for(10);
	submit(pool, SLEEP, "10", &slow);
	run_for(50);
	for (int i = 0; i < 100; i++)
		submit(pool, ECHO, "quick", &answers[i]);
	RUN_UNTIL(pg_pending(pool) <= 1);
	CHECK(slow.calls == 0);
	CHECK(all_went_well(answers, 100));
	pg_free(pool);
}

TEST("statements that are known to be slow share a connection and leave the other to the quick")
{
	enum { QUICK = 100 };
	struct pg *pool = pool_new(2, LONG_MS);
	struct answer slow[2], quick[QUICK];

	while (!both_are_up(pool))
		run_for(10);
	CHECK(ask(pool, SLEEP, "0.2").status == PG_OK);
	for (int i = 0; i < 2; i++)
		submit(pool, SLEEP, "3", &slow[i]);
	for (int i = 0; i < QUICK; i++)
		submit(pool, ECHO, "quick", &quick[i]);
	RUN_UNTIL(pg_pending(pool) <= 2);
	CHECK(all_went_well(quick, QUICK));
	CHECK(slow[0].calls == 0 && slow[1].calls == 0);
	RUN_UNTIL(pg_pending(pool) == 0);
	CHECK(slow[0].status == PG_OK && slow[1].status == PG_OK);
	pg_free(pool);
}

TEST("a burst waits in the queue as long as it can be served in time")
{
	enum { BURST = 5000 };
	struct pg *pool = pool_new(2, LONG_MS);
	struct answer *answers = calloc(BURST, sizeof(*answers));

	CHECK(answers != NULL);
	for (int i = 0; i < BURST; i++)
		submit(pool, ECHO, "burst", &answers[i]);
	RUN_UNTIL(pg_pending(pool) == 0);
	CHECK(all_went_well(answers, BURST));
	free(answers);
	pg_free(pool);
}

/* A connection that is slow and full: nothing leaves the queue before the sleep is over. */
static void
flight_fill(struct pg *pool, const char *sleep_seconds, struct answer answers[FLIGHT])
{
	submit(pool, SLEEP, sleep_seconds, &answers[0]);
	for (int i = 1; i < FLIGHT; i++)
		submit(pool, ECHO, "sent", &answers[i]);
	CHECK(event_base_loop(base, EVLOOP_NONBLOCK) == 0);
}

TEST("who would wait for more than half of his time is refused, and nobody is forgotten")
{
	enum { EARLY = 10 };
	struct pg *pool = pool_new(1, SHORT_MS);
	struct answer flight[FLIGHT], early[EARLY], late;

	flight_fill(pool, "9", flight);
	for (int i = 0; i < EARLY; i++)
		submit(pool, ECHO, "early", &early[i]);
	run_for(SHORT_MS / 2 + 50);
	submit(pool, ECHO, "late", &late);
	RUN_UNTIL(late.calls > 0);
	CHECK(late.status == PG_OVERLOADED && flight[0].calls == 0);
	RUN_UNTIL(pg_pending(pool) == 0);
	CHECK(all_went_well(flight, FLIGHT));
	CHECK(all_went_well(early, EARLY));
	CHECK(ask(pool, ECHO, "again").status == PG_OK);
	pg_free(pool);
}

TEST("the queue's memory is bounded")
{
	enum { BYTES = 1 << 20, FIT = 15, ALL = 20 };
	struct pg *pool = pool_new(1, LONG_MS);
	struct answer flight[FLIGHT], answers[ALL];
	char *value = calloc(1, BYTES);

	CHECK(value != NULL);
	memset(value, 'x', BYTES - 1);
	flight_fill(pool, "0.2", flight);
	for (int i = 0; i < ALL; i++)
		submit(pool, ECHO, value, &answers[i]);
	RUN_UNTIL(pg_pending(pool) == 0);
	for (int i = 0; i < ALL; i++)
		CHECK(answers[i].calls == 1 &&
		      answers[i].status == (i < FIT ? PG_OK : PG_OVERLOADED));
	free(value);
	pg_free(pool);
}
