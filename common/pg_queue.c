/*
 * pg_queue: what waits to be sent, who is refused, and which connection takes the next.
 *
 * The queue is bounded by time: as long as the server is quick enough to serve all that come, they may wait.
 * `turn` runs once for all that a turn of the loop has submitted, hands each to the connection with the fewest in
 * flight, and flushes every connection once.
 *
 * In a pipeline the quick wait behind the slow.  So a connection is the last choice for others as long as it has a
 * statement that is slow, or that usually is; a second slow one goes there too, and the other connections stay
 * quick.  One that makes no headway at all gets no more: what is still queued can go elsewhere or wait, what is in
 * flight is lost with its connection.
 */
#include <limits.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/pg_private.h"

#define SLOW_MS 20
#define NO_ROOM INT_MAX

/*
 * What the first in the queue has waited is what a newcomer must expect to wait.  If that is half of the time
 * that he has, he is told now, while he can still go elsewhere.  Bytes are counted because a burst comes before
 * anybody has waited.
 */
static bool
is_full(const struct pg *pool, const struct pg_submission *newcomer)
{
	const struct pg_submission *first = STAILQ_FIRST(&pool->queue);
	int64_t waited_us;

	if (first == NULL)
		return false;
	waited_us = newcomer->submitted_us - first->submitted_us;
	if (pool->ready > 0 && waited_us > pool->config->database_timeout_ms * 1000LL / 2)
		return true;
	return pool->queued_bytes + newcomer->bytes > PG_QUEUE_BYTES_MOST;
}

bool
pg_queue_add(struct pg *pool, struct pg_submission *submission)
{
	if (is_full(pool, submission))
		return false;
	STAILQ_INSERT_TAIL(&pool->queue, submission, link);
	pool->queued_bytes += submission->bytes;
	return true;
}

struct pg_submission *
pg_queue_take(struct pg *pool)
{
	struct pg_submission *submission = STAILQ_FIRST(&pool->queue);

	STAILQ_REMOVE_HEAD(&pool->queue, link);
	pool->queued_bytes -= submission->bytes;
	return submission;
}

void
pg_dispatch_soon(struct pg *pool)
{
	if (!STAILQ_EMPTY(&pool->queue) && pool->ready > 0)
		event_active(&pool->turn, EV_TIMEOUT, 0);
}

/*
 * How unwelcome one more statement is on this connection: the number that it would stand behind, if
 * they are quick; more, if one of them is slow; NO_ROOM if it is not ready, makes no headway, or
 * is slow and full.
 */
static int
load_of(const struct pg_connection *connection, int64_t now_ms)
{
	int64_t waited_ms = now_ms - connection->progress_ms;

	if (connection->state != LINK_READY)
		return NO_ROOM;
	if (connection->in_flight == 0)
		return 0;
	if (waited_ms <= SLOW_MS && connection->slow_in_flight == 0)
		return connection->in_flight;
	if (connection->in_flight == PG_FLIGHT_MOST)
		return NO_ROOM;
	if (waited_ms > connection->pool->config->database_timeout_ms / 4)
		return NO_ROOM;
	return PG_FLIGHT_MOST + connection->in_flight;
}

/* The one that serves slow statements now and can take another; NULL if there is none. */
static struct pg_connection *
connection_of_the_slow(struct pg *pool, int64_t now_ms)
{
	for (int i = 0; i < pool->connection_count; i++) {
		struct pg_connection *connection = &pool->connections[i];

		if (connection->slow_in_flight > 0 && load_of(connection, now_ms) != NO_ROOM)
			return connection;
	}
	return NULL;
}

/*
 * The least loaded; NULL if there is none, or if that is a quick one which is full: it will have room
 * sooner than others answer.
 */
static struct pg_connection *
connection_least_loaded(struct pg *pool, int64_t now_ms)
{
	struct pg_connection *best = NULL;
	int least = NO_ROOM;

	for (int i = 0; i < pool->connection_count && least > 0; i++) {
		int load = load_of(&pool->connections[i], now_ms);

		if (load < least) {
			least = load;
			best = &pool->connections[i];
		}
	}
	return least != PG_FLIGHT_MOST ? best : NULL;
}

static struct pg_connection *
connection_for(struct pg *pool, struct pg_submission *submission, int64_t now_ms)
{
	struct pg_connection *connection = NULL;

	submission->slow = pool->usual_ms[submission->statement] > SLOW_MS;
	if (submission->slow)
		connection = connection_of_the_slow(pool, now_ms);
	return connection != NULL ? connection : connection_least_loaded(pool, now_ms);
}

/* Who has hardly any time left is not sent any more: the connection would be closed if his deadline passed on it. */
void
pg_queue_turn(evutil_socket_t socket, short what, void *argument)
{
	struct pg *pool = argument;
	int64_t now_ms = clock_monotonic_ms();
	int64_t least_ms = pool->config->database_timeout_ms / 10;
	struct pg_submission *submission;
	struct pg_connection *connection;

	while ((submission = STAILQ_FIRST(&pool->queue)) != NULL) {
		connection = connection_for(pool, submission, now_ms);
		if (connection == NULL)
			break;
		pg_queue_take(pool);
		if (submission->deadline_ms <= now_ms + least_ms)
			pg_end(pool, submission, PG_TIMEOUT);
		else
			pg_pipeline_send(connection, submission);
	}
	for (int i = 0; i < pool->connection_count; i++)
		if (pool->connections[i].state == LINK_READY)
			pg_pipeline_flush(&pool->connections[i]);
}

/* A few quick runs make up for a slow one, which may have waited for a lock. */
void
pg_queue_learn(struct pg *pool, int statement, int64_t took_ms)
{
	pool->usual_ms[statement] += (took_ms - pool->usual_ms[statement]) / 4;
}
