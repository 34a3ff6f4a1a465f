/*
 * auto_offline: who was not heard of for stale_after_seconds goes offline, so that nobody is offered a chat
 * that he will not see.
 *
 * Silence counts only while somebody could hear: from mirror:alive on, and not at all while nobody
 * listens.  First the whole set is looked through, then, unless the brake says no, those who are silent go
 * offline page by page:
 *
 *   their heartbeats are read again, then the truth decides, under its locks, by the time they went online
 *   and the heartbeats that came to it directly, then the mirror is written.  The script reads the
 *   heartbeat once more.  Who was heard in between was told "online", so it stays so: the truth takes it
 *   back online, unless somebody else has decided about this mitra meanwhile.
 *
 * The brake: a tick that would take more than auto_offline_max_percent of at least BRAKE_LEAST mitras
 * offline is more likely a fault of ours or of the network than of all of them.  It takes nobody, and the
 * next does only if it finds the same.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/pg.h"
#include "common/valkey.h"
#include "sweeper/sweeper.h"

#define PAGE          1000
#define BRAKE_LEAST   20
#define BELIEVABLE_MS 60000 /* a heartbeat further ahead is of a wrong clock */

struct sweep {
	struct arena arena; /* holds the ids */
	int64_t now_ms, since_ms, cutoff_ms;
	char cutoff[CLOCK_ISO_SIZE];
	bool nobody; /* can be silent: everyone was stamped after the cutoff */
	int max_percent;
	size_t online; /* looked at */
	const char **silent;
	size_t silent_count, silent_room;
	struct quiet quiet; /* for the mirror's index */
	size_t swept, returned;
};

/* Each logs why, if it returns false. */
static bool measure(struct sweeper *, struct sweep *);
static bool trust(struct sweeper *, const struct sweep *);
static bool look_through(struct sweeper *, struct sweep *);
static bool brake_holds(struct sweeper *, const struct sweep *);
static bool take_offline(struct sweeper *, struct sweep *);

static bool
take_page(struct sweeper *, struct sweep *, struct arena *, const char **ids, size_t count);
static bool keep_silent(struct sweeper *, const struct sweep *, struct quiet *, struct arena *,
    const char **ids, size_t *count);

bool
auto_offline(struct sweeper *s)
{
	struct sweep sweep = { .now_ms = clock_wall_ms() };
	bool good = measure(s, &sweep) &&
		    (sweep.nobody ? trust(s, &sweep) : look_through(s, &sweep));

	if (!good)
		s->braked = false;
	else if (!brake_holds(s, &sweep))
		good = take_offline(s, &sweep);
	if (sweep.swept)
		log_info("[auto-offline] %zu of %zu online mitras went offline, %zu came back",
		    sweep.swept, sweep.online, sweep.returned);
	counters.auto_offline_mitras += sweep.swept - sweep.returned;
	free(sweep.silent);
	arena_free(&sweep.quiet.arena);
	arena_free(&sweep.arena);
	return good;
}

static bool
valkey_failed(const struct sweeper *s)
{
	log_warning("[auto-offline] valkey unavailable, skipping this tick: %s", s->error);
	return false;
}

static bool
skipped(const char *why)
{
	log_warning("[auto-offline] skipping this tick: %s", why);
	return false;
}

/*
 * Since when is somebody listening? Silence before that is ours; and before everyone was stamped for it,
 * there is none to judge.
 */
static bool
heard_since(struct sweeper *s, int64_t *since_ms)
{
	struct valkey_batch *batch = sweeper_read(s);
	struct valkey_replies *replies;
	const redisReply *alive, *stamped;
	const char *why = NULL;

	valkey_add(batch, "GET", "mirror:alive", NULL);
	valkey_add(batch, "GET", "mirror:stamped", NULL);
	replies = sweeper_ask_mirror(s, batch);
	if (!replies)
		return valkey_failed(s);
	alive = replies->reply[1];
	stamped = replies->reply[2];
	if (watch_clock_set(s))
		why = "the clock was set";
	else if (alive->type != REDIS_REPLY_STRING || !clock_parse_iso(alive->str, since_ms))
		why = "nobody listens to heartbeats";
	else if (stamped->type != REDIS_REPLY_STRING || strcmp(alive->str, stamped->str) != 0)
		why = "nobody listened until just now";
	valkey_replies_free(replies);
	return why ? skipped(why) : true;
}

static bool
measure(struct sweeper *s, struct sweep *sweep)
{
	struct rows *rows;

	if (!heard_since(s, &sweep->since_ms))
		return false;
	if (!sweeper_query(s, SQL_CONFIG, 1, &(const char *){ NULL }, &rows))
		return skipped(s->error);
	sweep->max_percent = (int)rows_integer(rows, "auto_offline_max_percent");
	sweep->cutoff_ms = sweep->now_ms - 1000 * rows_integer(rows, "stale_after_seconds");
	rows_free(rows);
	clock_iso(sweep->cutoff_ms, sweep->cutoff);
	sweep->nobody = sweep->since_ms > sweep->cutoff_ms;
	return true;
}

static bool
trust(struct sweeper *s, const struct sweep *sweep)
{
	return quiet_all_since(s, sweep->since_ms) ? true : valkey_failed(s);
}

static void
note_silent(struct sweep *sweep, const char *id)
{
	if (sweep->silent_count == sweep->silent_room) {
		sweep->silent_room = sweep->silent_room ? 2 * sweep->silent_room : PAGE;
		sweep->silent = realloc(sweep->silent, sweep->silent_room * sizeof(*sweep->silent));
		if (!sweep->silent)
			fatal("out of memory");
	}
	sweep->silent[sweep->silent_count++] = arena_strdup(&sweep->arena, id);
}

static bool
look_through(struct sweeper *s, struct sweep *sweep)
{
	struct sweeper_scan scan = { .set = "mitras:online", .count = "1000" };
	/* Halfway to silence: until the next sweep, everybody who was heard since is fresh. */
	bool good = quiet_begin(s, &sweep->quiet, (sweep->now_ms + sweep->cutoff_ms) / 2);

	while (good && !scan.done) {
		struct arena arena = { 0 };
		size_t count = 0;

		if (!sweeper_goes_on(s))
			return false;
		good = sweeper_scan(s, &arena, &scan);
		for (size_t i = 0; good && i < scan.count_found; i++)
			if (sweeper_is_uuid(
				scan.found[i])) /* others are for the reseed to remove */
				scan.found[count++] = scan.found[i];
		sweep->online += count;
		good = good && keep_silent(s, sweep, &sweep->quiet, &arena, scan.found, &count);
		for (size_t i = 0; good && i < count; i++)
			note_silent(sweep, scan.found[i]);
		arena_free(&arena);
	}
	return good && quiet_end(s, &sweep->quiet) ? true : valkey_failed(s);
}

/* One from the future would keep its mitra online until then. It becomes one of now, unless it has moved. */
static bool
bring_back_from_future(struct sweeper *s, struct arena *arena, const char **pairs, size_t used)
{
	static const char script[] =
	    "for i = 2, #ARGV, 2 do local key = 'mitra:heartbeat:' .. ARGV[i] "
	    "if redis.call('GET', key) == ARGV[i + 1] then redis.call('SET', key, ARGV[1]) end end "
	    "return 1";
	struct valkey_batch *batch = valkey_batch_new(s->valkey);
	struct valkey_replies *replies;

	sweeper_add_many(batch, arena, "EVAL", script, "", pairs, used);
	replies = sweeper_ask(s, batch);
	valkey_replies_free(replies);
	return replies;
}

/*
 * Keeps, in place, those of the ids whose heartbeat is missing, no time, or before the cutoff; and notes who is quiet,
 * if that is asked.
 */
static bool
keep_silent(struct sweeper *s, const struct sweep *sweep, struct quiet *quiet, struct arena *arena,
    const char **ids, size_t *count)
{
	struct valkey_batch *batch = sweeper_read(s);
	struct valkey_replies *replies;
	const char **future = arena_alloc(arena, sizeof(*future) * (2 * *count + 2));
	size_t kept = 0, used = 2;
	char now[CLOCK_ISO_SIZE];

	if (*count)
		sweeper_add_many(batch, arena, "MGET", NULL, "mitra:heartbeat:", ids, *count);
	replies = sweeper_ask_mirror(s, batch);
	if (!replies)
		return false;
	clock_iso(clock_wall_ms(), now);
	future[0] = "0"; /* no KEYS */
	future[1] = now;
	for (size_t i = 0; i < *count; i++) {
		const redisReply *heartbeat = replies->reply[1]->element[i];
		int64_t heard_ms = INT64_MIN;

		if (heartbeat->type != REDIS_REPLY_STRING ||
		    !clock_parse_iso(heartbeat->str, &heard_ms))
			heard_ms = INT64_MIN;
		if (quiet && heard_ms < quiet->cutoff_ms)
			quiet_note(quiet, ids[i]);
		if (heard_ms < sweep->cutoff_ms) {
			ids[kept++] = ids[i];
		} else if (heard_ms > sweep->now_ms + BELIEVABLE_MS) {
			future[used++] = ids[i];
			future[used++] = arena_strdup(arena, heartbeat->str);
		}
	}
	*count = kept;
	valkey_replies_free(replies);
	return used == 2 || bring_back_from_future(s, arena, future, used);
}

static bool
brake_holds(struct sweeper *s, const struct sweep *sweep)
{
	bool hard = sweep->online >= BRAKE_LEAST &&
		    sweep->silent_count * 100 > sweep->online * (size_t)sweep->max_percent;

	if (!hard || s->braked) {
		s->braked = false;
		return false;
	}
	s->braked = true;
	counters.auto_offline_braked++;
	log_critical("[auto-offline] %zu of %zu online mitras are silent, which is more than %d "
		     "%%: nobody goes offline"
		     " unless the next tick finds the same",
	    sweep->silent_count, sweep->online, sweep->max_percent);
	return true;
}

static bool
take_offline(struct sweeper *s, struct sweep *sweep)
{
	bool good = true;

	for (size_t at = 0; at < sweep->silent_count && good; at += PAGE) {
		size_t left = sweep->silent_count - at;
		struct arena arena = { 0 };

		if (!sweeper_goes_on(s))
			return false;
		good = take_page(s, sweep, &arena, sweep->silent + at, left < PAGE ? left : PAGE);
		arena_free(&arena);
	}
	return good;
}

/* Those whom the script skipped because they were heard; the other skipped have a newer state already. */
static bool
take_back(struct sweeper *s, struct sweep *sweep, struct arena *arena,
    const struct mirror_state *swept, size_t count, const struct mirror_applied *applied)
{
	const char **ids = arena_alloc(arena, sizeof(*ids) * (count + 1));
	const char **versions = arena_alloc(arena, sizeof(*versions) * (count + 1));
	struct mirror_state *states;
	struct rows *rows;
	size_t heard = 0, back;

	for (size_t i = 0, skip = 0; i < count && skip < applied->skipped; i++)
		if (strcmp(applied->skips[skip].id, swept[i].id) == 0 &&
		    !*applied->skips[skip++].version) {
			ids[heard] = swept[i].id;
			versions[heard++] = swept[i].version;
		}
	if (heard == 0)
		return true;
	if (!sweeper_change(s, SQL_BACK_ONLINE, 2,
		(const char *[]){
		    sweeper_array(arena, ids, heard), sweeper_array(arena, versions, heard) },
		&rows))
		return false;
	back = mirror_states_of(arena, rows, &states);
	rows_free(rows);
	sweep->returned += back;
	return sweeper_apply(s, arena, states, back, (struct mirror_how){ 0 }, NULL);
}

static bool
take_page(
    struct sweeper *s, struct sweep *sweep, struct arena *arena, const char **ids, size_t count)
{
	struct mirror_applied applied;
	struct mirror_state *states;
	struct rows *rows;
	size_t swept;
	bool good;

	if (!keep_silent(s, sweep, NULL, arena, ids, &count))
		return valkey_failed(s);
	if (!sweeper_change(s, SQL_AUTO_OFFLINE, 2,
		(const char *[]){ sweeper_array(arena, ids, count), sweep->cutoff }, &rows))
		return skipped(s->error);
	swept = mirror_states_of(arena, rows, &states);
	sweep->swept += swept;
	good = sweeper_apply(
	    s, arena, states, swept, (struct mirror_how){ .cutoff = sweep->cutoff }, &applied);
	if (good)
		transition_tell(s, rows);
	rows_free(rows);
	if (!good)
		return valkey_failed(s);
	if (!take_back(s, sweep, arena, states, swept, &applied))
		return skipped(s->error);
	return true;
}
