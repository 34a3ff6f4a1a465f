/*
 * mirror_snapshot: the beacon's answer, computed once in the whole cluster however many poll.
 *
 * A poll reads availability:snapshot.  If that is gone, one process takes mirror:snapshot:lock, recomputes
 * and stores; the others look again every LOOK_AGAIN_MS, and take the lock themselves if it comes free
 * without a snapshot, or recompute without it if even that takes longer than the lock can live.  The
 * snapshot is looked at once more after the lock is taken: whoever had it before has stored and released in
 * one script.
 *
 * A change between the recompute's reading and its storing must not be forgotten for the snapshot's whole
 * life: mirror.lua counts changes in mirror:changes, and a snapshot that was overtaken lives only CHURN_MS.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/mirror_private.h"
#include "common/valkey.h"

#define LOCK          "mirror:snapshot:lock"
#define LOCK_MS       1000
#define LOOK_AGAIN_MS 20
#define SNAPSHOT_SIZE 128

/*
 * KEYS: snapshot, changes, lock. ARGV: text, or "" to release the lock only; changes that it has seen;
 * token; life and short life in ms.
 */
static const char store_script[] =
    "if ARGV[1] ~= '' then"
    " local life = (redis.call('GET', KEYS[2]) or '') == ARGV[2] and ARGV[4] or ARGV[5]"
    " redis.call('SET', KEYS[1], ARGV[1], 'PX', life) "
    "end "
    "if redis.call('GET', KEYS[3]) == ARGV[3] then redis.call('DEL', KEYS[3]) end "
    "return 1";

struct snapshot_waiter {
	struct snapshot_waiter *next;
	mirror_text_fn *done;
	void *argument;
};

static void look(struct mirror *);
static valkey_done_fn looked, claimed;
static void claim(evutil_socket_t, short, void *);
static void recompute(struct mirror *);
static mirror_available_fn recomputed;
static void store(struct mirror *, const char *text);
static void end(struct mirror *, const char *error, const char *text);

void
snapshot_init(struct mirror *mirror)
{
	uint64_t random;

	arc4random_buf(&random, sizeof(random));
	snprintf(
	    mirror->snapshot.token, sizeof(mirror->snapshot.token), "%016jx", (uintmax_t)random);
	mirror->snapshot.again = evtimer_new(mirror->base, claim, mirror);
	if (!mirror->snapshot.again)
		fatal("mirror: no timer");
}

void
snapshot_free(struct mirror *mirror)
{
	event_free(mirror->snapshot.again);
	end(mirror, "the process ends", NULL);
}

void
mirror_snapshot(struct mirror *mirror, mirror_text_fn *done, void *argument)
{
	struct snapshot_waiter *waiter = calloc(1, sizeof(*waiter));
	bool flying = mirror->snapshot.waiters;

	if (!waiter)
		fatal("mirror: out of memory");
	*waiter = (struct snapshot_waiter){ mirror->snapshot.waiters, done, argument };
	mirror->snapshot.waiters = waiter;
	if (!flying)
		look(mirror);
}

static void
look(struct mirror *mirror)
{
	struct valkey_batch *batch = valkey_batch_new(mirror->valkey);

	valkey_add(batch, "GET", "mirror:generation", NULL);
	valkey_add(batch, "GET", "availability:snapshot", NULL);
	valkey_send(batch, looked, mirror);
}

/* What was kept; NULL if nothing was, or nothing of ours: that is computed anew and replaced. */
static const char *
kept_text(const redisReply *reply)
{
	static const char yes[] = "{\"available\":true,\"count\":";
	static const char no[] = "{\"available\":false,\"count\":0,";
	const char *text = mirror_reply_text(reply);
	size_t length = text ? strlen(text) : 0;

	if (length == 0 || length >= SNAPSHOT_SIZE || text[length - 1] != '}')
		return NULL;
	return strncmp(text, yes, sizeof(yes) - 1) == 0 || strncmp(text, no, sizeof(no) - 1) == 0
		   ? text
		   : NULL;
}

static void
looked(void *argument, const char *error, redisReply *const *replies)
{
	struct mirror *mirror = argument;

	if (!error)
		error = mirror_fault(mirror, replies, 1);
	if (error || kept_text(replies[1])) {
		end(mirror, error, error ? NULL : kept_text(replies[1]));
		return;
	}
	mirror->snapshot.patience_until_ms = clock_monotonic_ms() + LOCK_MS;
	claim(-1, 0, mirror);
}

static void
claim(evutil_socket_t fd, short events, void *argument)
{
	struct mirror *mirror = argument;
	struct valkey_batch *batch = valkey_batch_new(mirror->valkey);
	char lock_ms[16];

	snprintf(lock_ms, sizeof(lock_ms), "%d", LOCK_MS);
	valkey_add(batch, "GET", "mirror:generation", NULL);
	valkey_add(batch, "SET", LOCK, mirror->snapshot.token, "NX", "PX", lock_ms, NULL);
	valkey_add(batch, "GET", "mirror:changes", NULL);
	valkey_add(batch, "GET", "availability:snapshot", NULL);
	valkey_send(batch, claimed, mirror);
}

static void
claimed(void *argument, const char *error, redisReply *const *replies)
{
	struct mirror *mirror = argument;
	struct timeval delay = clock_timeval(LOOK_AGAIN_MS);
	const char *changes, *text;
	bool ours;

	if (!error)
		error = mirror_fault(mirror, replies, 2);
	if (error) {
		end(mirror, error, NULL);
		return;
	}
	ours = replies[1]->type == REDIS_REPLY_STATUS;
	changes = mirror_reply_text(replies[2]);
	text = kept_text(replies[3]);
	if (text) {
		if (ours)
			store(mirror, "");
		end(mirror, NULL, text);
		return;
	}
	if (!ours && clock_monotonic_ms() < mirror->snapshot.patience_until_ms) {
		evtimer_add(mirror->snapshot.again, &delay);
		return;
	}
	snprintf(mirror->snapshot.changes, sizeof(mirror->snapshot.changes), "%s",
	    changes ? changes : "");
	recompute(mirror);
}

static void
recompute(struct mirror *mirror)
{
	counters.snapshot_recomputes++;
	mirror_count(mirror, recomputed, mirror);
}

static void
recomputed(void *argument, const char *error, const struct mirror_available *available,
    size_t count, const struct mirror_totals *totals)
{
	struct mirror *mirror = argument;
	char now[CLOCK_ISO_SIZE], text[SNAPSHOT_SIZE];

	clock_iso(clock_wall_ms(), now);
	if (!error)
		snprintf(text, sizeof(text),
		    "{\"available\":%s,\"count\":%" PRId64 ",\"as_of\":\"%s\"}",
		    totals->available ? "true" : "false", totals->available, now);
	store(mirror, error ? "" : text);
	end(mirror, error, error ? NULL : text);
}

/* Its reply is not waited for: whoever polls next on this connection comes after it. */
static void
store(struct mirror *mirror, const char *text)
{
	struct valkey_batch *batch = valkey_batch_new(mirror->valkey);

	valkey_add(batch, "EVAL", store_script, "3", "availability:snapshot", "mirror:changes",
	    LOCK, text, mirror->snapshot.changes, mirror->snapshot.token, "10000", "250", NULL);
	valkey_send(batch, mirror_ignore, NULL);
}

/* A waiter's callback may poll again: that is a new flight. */
static void
end(struct mirror *mirror, const char *error, const char *text)
{
	struct snapshot_waiter *waiter = mirror->snapshot.waiters;

	mirror->snapshot.waiters = NULL;
	while (waiter) {
		struct snapshot_waiter *next = waiter->next;

		waiter->done(waiter->argument, error, text);
		free(waiter);
		waiter = next;
	}
}

void
mirror_snapshot_bust(struct mirror *mirror)
{
	struct valkey_batch *batch = valkey_batch_new(mirror->valkey);

	valkey_add(batch, "INCR", "mirror:changes", NULL);
	valkey_add(batch, "DEL", "availability:snapshot", NULL);
	valkey_send(batch, mirror_ignore, NULL);
}
