/*
 * shown: what Valkey shows of a page of mitras.
 *
 * Read with one command for each set and kind of key, which costs Valkey about half of what mirror.lua does.
 * The commands are not one atomic step, so a state that changes meanwhile may be seen half.  Who takes what
 * differs for doubtful, and what is equal for equal at the time of the look, is right nevertheless.
 */
#include <string.h>

#include "common/clock.h"
#include "common/pg.h"
#include "common/valkey.h"
#include "sweeper/sweeper.h"

/* The replies, in this order. */
enum { ONLINE, DEACTIVATED, SILENT, RANKING, VERSION, SESSIONS, HEARTBEAT, OFFLINE_HEARTBEATS };

/* Whether a key exists that is no text: MGET does not tell. */
static void
ask_about_offline(struct valkey_batch *batch, struct arena *arena,
    const struct mirror_state *states, size_t count)
{
	const char **ids = arena_alloc(arena, sizeof(*ids) * (count + 1));
	size_t offline = 0;

	for (size_t i = 0; i < count; i++)
		if (!states[i].online)
			ids[offline++] = states[i].id;
	if (offline > 0)
		sweeper_add_many(batch, arena, "EXISTS", NULL, "mitra:heartbeat:", ids, offline);
}

bool
shown_read(struct sweeper *s, struct arena *arena, const struct mirror_state *states, size_t count,
    struct shown *shown)
{
	struct valkey_batch *batch = valkey_batch_new(s->valkey);
	const char **ids = arena_alloc(arena, sizeof(*ids) * (count + 1));

	for (size_t i = 0; i < count; i++)
		ids[i] = states[i].id;
	sweeper_add_many(batch, arena, "SMISMEMBER", "mitras:online", "", ids, count);
	sweeper_add_many(batch, arena, "SMISMEMBER", "mitras:deactivated", "", ids, count);
	sweeper_add_many(batch, arena, "SMISMEMBER", "mirror:silent", "", ids, count);
	sweeper_add_many(batch, arena, "ZMSCORE", "mirror:ranking", "", ids, count);
	sweeper_add_many(batch, arena, "MGET", NULL, "mitra:version:", ids, count);
	sweeper_add_many(batch, arena, "MGET", NULL, "mitra:capacity:", ids, count);
	sweeper_add_many(batch, arena, "MGET", NULL, "mitra:heartbeat:", ids, count);
	ask_about_offline(batch, arena, states, count);
	shown->replies = sweeper_ask(s, batch);
	return shown->replies;
}

void
shown_free(struct shown *shown)
{
	valkey_replies_free(shown->replies);
}

static const redisReply *
shown_reply(const struct shown *shown, int command, size_t i)
{
	return shown->replies->reply[command]->element[i];
}

static const char *
shown_text(const struct shown *shown, int command, size_t i)
{
	const redisReply *reply = shown_reply(shown, command, i);

	return reply->type == REDIS_REPLY_STRING ? reply->str : NULL;
}

bool
shown_online(const struct shown *shown, size_t i)
{
	return shown_reply(shown, ONLINE, i)->integer;
}

bool
shown_deactivated(const struct shown *shown, size_t i)
{
	return shown_reply(shown, DEACTIVATED, i)->integer;
}

const char *
shown_sessions(const struct shown *shown, size_t i)
{
	const char *sessions = shown_text(shown, SESSIONS, i);

	return sessions ? sessions : "none";
}

const char *
shown_heartbeat(const struct shown *shown, size_t i)
{
	const char *heartbeat = shown_text(shown, HEARTBEAT, i);
	int64_t wall_ms;

	return heartbeat && clock_parse_iso(heartbeat, &wall_ms) ? heartbeat : NULL;
}

const char *
shown_rank(const struct shown *shown, size_t i)
{
	static char load[16];
	const char *score = shown_text(shown, RANKING, i);

	if (!score)
		return "none";
	snprintf(load, sizeof(load), "%d", mirror_rank_load(score));
	return load;
}

const char *
shown_rank_of(const struct mirror_state *state)
{
	return !state->online ? "none" : !state->active ? MIRROR_RANK_LAST : state->sessions;
}

/* One who is offline has none, and is not among the silent. */
static bool
heartbeat_is_right(const struct shown *shown, size_t i, const struct mirror_state *state)
{
	const char *heartbeat = shown_heartbeat(shown, i);

	if (state->online)
		return heartbeat &&
		       strcmp(heartbeat, state->heartbeat ? state->heartbeat : "") >= 0;
	return shown->replies->reply[OFFLINE_HEARTBEATS]->integer == 0 &&
	       !shown_reply(shown, SILENT, i)->integer;
}

bool
shown_is(const struct shown *shown, size_t i, const struct mirror_state *state)
{
	const char *version = shown_text(shown, VERSION, i);

	return version && strcmp(version, state->version) == 0 &&
	       shown_online(shown, i) == state->online &&
	       shown_deactivated(shown, i) == !state->active &&
	       strcmp(shown_sessions(shown, i), state->sessions) == 0 &&
	       strcmp(shown_rank(shown, i), shown_rank_of(state)) == 0 &&
	       heartbeat_is_right(shown, i, state);
}
