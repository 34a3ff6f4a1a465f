/*
 * mirror_beat: heartbeats, the one thing that is written without a version.
 *
 * Those of one turn of the event loop are one batch: a GET of mirror:generation for all, then for each the
 * question whether its mitra is deactivated, and the SET.  That SET creates no key, so what is emptied
 * between the two answers as unknown, and the truth is asked.  A batch is bounded, so that its first reply and its
 * last are of the same moment, or nearly.
 */
#include <assert.h>
#include <stdlib.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mirror_private.h"
#include "common/valkey.h"

#define BATCH_MOST   32
#define BEAT_REPLIES 2 /* behind the generation, for each */

/* Who waits, in the order of the commands. */
struct beat_batch {
	struct mirror *mirror;
	struct valkey_batch *commands;
	size_t count;
	struct {
		mirror_beat_fn *done;
		void *argument;
	} beats[BATCH_MOST];
};

static void turn_ends(evutil_socket_t, short what, void *);
static valkey_done_fn beats_replied;

void
beats_init(struct mirror *mirror)
{
	mirror->beats_due = evtimer_new(mirror->base, turn_ends, mirror);
	if (!mirror->beats_due)
		fatal("mirror: no timer");
}

void
beats_free(struct mirror *mirror)
{
	assert(!mirror->beats);
	event_free(mirror->beats_due);
}

static struct beat_batch *
batch_begin(struct mirror *mirror)
{
	struct beat_batch *batch = malloc(sizeof(*batch));

	if (!batch)
		fatal("mirror: out of memory");
	batch->mirror = mirror;
	batch->commands = mirror_read_begin(mirror);
	batch->count = 0;
	event_active(mirror->beats_due, EV_TIMEOUT, 0);
	return batch;
}

void
mirror_beat(struct mirror *mirror, const char *id, mirror_beat_fn *done, void *argument)
{
	struct beat_batch *batch = mirror->beats;
	char key[HEARTBEAT_KEY_SIZE], now[CLOCK_ISO_SIZE];

	if (!batch)
		batch = mirror->beats = batch_begin(mirror);
	batch->beats[batch->count].done = done;
	batch->beats[batch->count++].argument = argument;
	mirror_heartbeat_key(key, id);
	clock_iso(clock_wall_ms(), now);
	valkey_add(batch->commands, "SISMEMBER", "mitras:deactivated", id, NULL);
	valkey_add(batch->commands, "SET", key, now, "XX", NULL);
	if (batch->count == BATCH_MOST)
		mirror_beats_send(mirror);
}

static void
turn_ends(evutil_socket_t fd, short what, void *argument)
{
	mirror_beats_send(argument);
}

void
mirror_beats_send(struct mirror *mirror)
{
	struct beat_batch *batch = mirror->beats;

	if (!batch)
		return;
	mirror->beats = NULL;
	valkey_send(batch->commands, beats_replied, batch);
}

/* What became of one, whose replies are these. */
static enum mirror_beat
beat_of(const redisReply *deactivated, const redisReply *stored)
{
	if (deactivated->integer == 1)
		return BEAT_INACTIVE;
	return stored->type == REDIS_REPLY_NIL ? BEAT_UNKNOWN : BEAT_STORED;
}

static void
beats_replied(void *argument, const char *error, redisReply *const *replies)
{
	struct beat_batch *batch = argument;

	for (size_t i = 0; i < batch->count; i++) {
		redisReply *const *own = error ? NULL : replies + 1 + BEAT_REPLIES * i;
		const char *fault = error;
		enum mirror_beat beat = BEAT_UNKNOWN;

		if (!fault)
			fault = mirror_fault(
			    batch->mirror, (redisReply *const[]){ replies[0], own[0], own[1] }, 3);
		if (!fault)
			beat = beat_of(own[0], own[1]);
		batch->beats[i].done(batch->beats[i].argument, fault, beat);
	}
	free(batch);
}
