/*
 * mirror_read: what is asked of the mirror about one mitra; for all of them see mirror_search.c.
 *
 * Each is one or more batches of plain commands, and each batch begins with a GET of mirror:generation: an
 * emptied Valkey, or an empty replica that took over, answers every other command as if nobody were online.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mirror_private.h"
#include "common/valkey.h"

#define SETTLE_MS 800 /* more than the longest pause between two of the client's probes */

struct valkey_batch *
mirror_read_begin(struct mirror *mirror)
{
	struct valkey_batch *batch = valkey_batch_new(mirror->valkey);

	valkey_add(batch, "GET", "mirror:generation", NULL);
	return batch;
}

/*
 * After an outage some process of the cluster may have a state that it could not write, and may get
 * Valkey back a little later than we did.  It then takes mirror:generation away; until it has had the
 * time to, the mirror is not believed.
 */
static bool
is_settling(const struct mirror *mirror)
{
	int64_t returned_ms = valkey_returned_ms(mirror->valkey);

	return returned_ms != 0 && clock_monotonic_ms() - returned_ms < SETTLE_MS;
}

const char *
mirror_fault(const struct mirror *mirror, redisReply *const *replies, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (replies[i]->type == REDIS_REPLY_ERROR)
			return replies[i]->str;
	if (replies[0]->type != REDIS_REPLY_STRING)
		return MIRROR_EMPTY;
	return is_settling(mirror) ? "Valkey has just come back" : NULL;
}

const char *
mirror_reply_text(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_STRING ? reply->str : NULL;
}

/* One from the future is of another machine's clock, and fresh. */
bool
mirror_is_fresh(const struct mirror *mirror, const char *heartbeat, int64_t now_ms)
{
	int64_t heard_ms;

	return heartbeat && clock_parse_iso(heartbeat, &heard_ms) &&
	       now_ms - heard_ms <= mirror->limits.stale_after_ms;
}

void
mirror_heartbeat_key(char key[HEARTBEAT_KEY_SIZE], const char *id)
{
	static const char prefix[] = "mitra:heartbeat:";
	size_t length = strnlen(id, HEARTBEAT_KEY_SIZE - sizeof(prefix));

	memcpy(key, prefix, sizeof(prefix) - 1);
	memcpy(key + sizeof(prefix) - 1, id, length);
	key[sizeof(prefix) - 1 + length] = '\0';
}

/* What a short question waits with. */
struct question {
	struct mirror *mirror;
	union {
		mirror_reachable_fn *reachable;
		mirror_text_fn *text;
	} done;
	void *argument;
};

static struct question *
question_new(struct mirror *mirror, void *argument)
{
	struct question *question = calloc(1, sizeof(*question));

	if (!question)
		fatal("mirror: out of memory");
	question->mirror = mirror;
	question->argument = argument;
	return question;
}

static void
reachable_replied(void *argument, const char *error, redisReply *const *replies)
{
	struct question question = *(struct question *)argument;
	bool reachable = false;

	free(argument);
	if (!error)
		error = mirror_fault(question.mirror, replies, 4);
	if (!error)
		reachable = replies[1]->integer == 1 && replies[2]->integer == 0 &&
			    mirror_is_fresh(
				question.mirror, mirror_reply_text(replies[3]), clock_wall_ms());
	question.done.reachable(question.argument, error, reachable);
}

void
mirror_reachable(struct mirror *mirror, const char *id, mirror_reachable_fn *done, void *argument)
{
	struct question *question = question_new(mirror, argument);
	struct valkey_batch *batch = mirror_read_begin(mirror);
	char key[HEARTBEAT_KEY_SIZE];

	question->done.reachable = done;
	mirror_heartbeat_key(key, id);
	valkey_add(batch, "SISMEMBER", "mitras:online", id, NULL);
	valkey_add(batch, "SISMEMBER", "mitras:deactivated", id, NULL);
	valkey_add(batch, "GET", key, NULL);
	valkey_send(batch, reachable_replied, question);
}

static void
heartbeat_replied(void *argument, const char *error, redisReply *const *replies)
{
	struct question question = *(struct question *)argument;
	const char *heartbeat = NULL;
	int64_t heard_ms;

	free(argument);
	if (!error)
		error = mirror_fault(question.mirror, replies, 2);
	if (!error)
		heartbeat = mirror_reply_text(replies[1]);
	if (heartbeat && !clock_parse_iso(heartbeat, &heard_ms))
		heartbeat = NULL;
	question.done.text(question.argument, error, heartbeat);
}

void
mirror_heartbeat_of(struct mirror *mirror, const char *id, mirror_text_fn *done, void *argument)
{
	struct question *question = question_new(mirror, argument);
	struct valkey_batch *batch = mirror_read_begin(mirror);
	char key[HEARTBEAT_KEY_SIZE];

	question->done.text = done;
	mirror_heartbeat_key(key, id);
	valkey_add(batch, "GET", key, NULL);
	valkey_send(batch, heartbeat_replied, question);
}
