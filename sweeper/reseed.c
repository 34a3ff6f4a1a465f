/*
 * reseed: the mirror is made equal to the truth, while both go on changing.
 *
 * Nothing is deleted first, so an empty set is never visible: page by page the truth's states are held against
 * what Valkey shows, and those that differ go through the same script as everybody's, which skips what is
 * older than what it shows.  Then goes what the truth does not know.  Only then, and only if Valkey was not
 * emptied meanwhile, mirror:generation says that the mirror may be believed.
 *
 * A state can also be skipped because the truth was restored from a backup, and counts its versions from
 * further back. The mirror's version was committed once; so if the truth, asked again after it was seen,
 * still is behind it, then the truth went back.  It wins, by compare-and-set against exactly the version
 * that was seen.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/pg.h"
#include "common/valkey.h"
#include "sweeper/sweeper.h"

#define PAGE "2000"

struct seeding {
	struct reseed_how how;
	char key[32];               /* mirror:seed:<token>: is gone if Valkey was emptied since */
	char alive[CLOCK_ISO_SIZE]; /* that everyone gets stamped for; "": nobody */
	bool looking;               /* before writing: most of it is right, probably */
	struct known known;
	size_t online, deactivated, busy;
};

/*
 * KEYS: seed, generation, stamped, dirty.  ARGV: token, alive or "".  If somebody has taken the generation
 * away meanwhile, and said why, it stays away: what he could not write came too late for us.
 */
static const char finish_script[] =
    "if redis.call('DEL', KEYS[1]) == 0 then return 0 end "
    "if redis.call('EXISTS', KEYS[2]) == 1 or redis.call('EXISTS', KEYS[4]) == 0 then "
    "redis.call('SET', KEYS[2], ARGV[1]) end "
    "if ARGV[2] ~= '' then redis.call('SET', KEYS[3], ARGV[2]) end "
    "return 1";

static bool begin(struct sweeper *, struct seeding *);
static bool follow_config(struct sweeper *);
static bool believe_times(struct sweeper *);
static bool show_all(struct sweeper *, struct seeding *);
static bool mend_types(struct sweeper *);
static bool show_page(struct sweeper *, struct seeding *, struct arena *, const struct rows *);
static bool
show_some(struct sweeper *, struct seeding *, struct arena *, struct mirror_state *, size_t count);
static bool keep_doubtful(struct sweeper *, struct arena *, struct mirror_state *, size_t *count);
static bool
win_back(struct sweeper *, struct seeding *, struct arena *, const struct mirror_applied *);
static bool finish(struct sweeper *, struct seeding *);
static void give_up(struct sweeper *);

bool
reseed(struct sweeper *s, struct reseed_how how)
{
	struct seeding seeding = { .how = how };
	int64_t since_ms;
	bool good;

	s->reseed_due = false;
	good = mend(s) && begin(s, &seeding) && follow_config(s) && believe_times(s) &&
	       mend_types(s) && show_all(s, &seeding) &&
	       orphans_in_sets(s, &seeding.known, orphans_remove, NULL) &&
	       (!how.orphans || orphans_in_keys(s, &seeding.known, orphans_remove, NULL)) &&
	       finish(s, &seeding);
	known_free(&seeding.known);
	if (!good) {
		give_up(s);
		return false;
	}
	if (*seeding.alive && clock_parse_iso(seeding.alive, &since_ms))
		(void)quiet_all_since(s, since_ms);
	counters.reseeds++;
	snprintf(s->seeded, sizeof(s->seeded),
	    "[valkey-mirror] seed: %zu online, %zu deactivated, %zu with active sessions",
	    seeding.online, seeding.deactivated, seeding.busy);
	return true;
}

bool
reseed_and_log(struct sweeper *s, struct reseed_how how)
{
	bool good = reseed(s, how);

	if (good)
		log_info("%s", s->seeded);
	else if (!s->stopping && !s->reseed_failing)
		log_warning("[valkey-mirror] seed failed, trying again: %s", s->error);
	s->reseed_failing = !good;
	return good;
}

/* "Dirty" is taken back before the truth is read: what fails to be written from now on says so anew. */
static bool
begin(struct sweeper *s, struct seeding *seeding)
{
	struct valkey_batch *batch = valkey_batch_new(s->valkey);
	struct valkey_replies *replies;
	const redisReply *alive, *stamped;
	char now[CLOCK_ISO_SIZE];
	uint64_t token;

	arc4random_buf(&token, sizeof(token));
	snprintf(seeding->key, sizeof(seeding->key), "mirror:seed:%016" PRIx64, token);
	clock_iso(clock_wall_ms(), now);
	valkey_add(batch, "DEL", "mirror:dirty", NULL);
	valkey_add(batch, "SET", seeding->key, "1", "EX", "3600", NULL);
	if (seeding->how.listening)
		valkey_add(batch, "SET", "mirror:alive", now, "NX", "EX", "10", NULL);
	valkey_add(batch, "GET", "mirror:alive", NULL);
	valkey_add(batch, "GET", "mirror:stamped", NULL);
	valkey_add(batch, "EXISTS", "mirror:generation", NULL);
	replies = sweeper_ask(s, batch);
	if (!replies)
		return false;
	alive = replies->reply[replies->count - 3];
	stamped = replies->reply[replies->count - 2];
	if (seeding->how.stamping && alive->type == REDIS_REPLY_STRING &&
	    !(stamped->type == REDIS_REPLY_STRING && strcmp(alive->str, stamped->str) == 0))
		snprintf(seeding->alive, sizeof(seeding->alive), "%s", alive->str);
	seeding->looking = !*seeding->alive && replies->reply[replies->count - 1]->integer;
	valkey_replies_free(replies);
	return true;
}

/* Somebody may have edited app_config by hand. Every process reads it anew when its keys are published. */
static bool
follow_config(struct sweeper *s)
{
	struct valkey_batch *batch = valkey_batch_new(s->valkey);
	struct valkey_replies *replies;
	struct rows *rows;
	const char *seen;
	bool good;

	valkey_add(batch, "GET", "mirror:config", NULL);
	replies = sweeper_ask(s, batch);
	if (!replies)
		return false;
	seen = replies->reply[0]->type == REDIS_REPLY_STRING ? replies->reply[0]->str : NULL;
	good = sweeper_query(s, SQL_CONFIG, 1, &seen, &rows);
	if (!good && seen) /* it may be no JSON */
		good = sweeper_query(s, SQL_CONFIG, 1, &(const char *){ NULL }, &rows);
	valkey_replies_free(replies);
	if (good && rows_text(rows, "changed")) {
		batch = valkey_batch_new(s->valkey);
		valkey_add(batch, "SET", "mirror:config", rows_text(rows, "answer"), NULL);
		valkey_add(batch, "PUBLISH", "config:invalidate", rows_text(rows, "changed"), NULL);
		replies = sweeper_ask(s, batch);
		valkey_replies_free(replies);
		mirror_snapshot_bust(s->mirror);
	}
	if (good)
		rows_free(rows);
	return good;
}

/* Times of the truth that lie ahead, since a clock was set back, would be shown as fresh heartbeats again and again. */
static bool
believe_times(struct sweeper *s)
{
	struct rows *rows;
	int64_t count;

	do {
		if (!sweeper_goes_on(s) ||
		    !sweeper_query(s, SQL_STATUS_BELIEVE, 1, &(const char *){ PAGE }, &rows))
			return false;
		count = rows_integer(rows, "believed");
		rows_free(rows);
	} while (count == atoi(PAGE));
	return true;
}

/* mirror.lua does so with the keys that it writes, whomever it writes. */
static bool
mend_types(struct sweeper *s)
{
	return sweeper_apply(s, NULL, NULL, 0, (struct mirror_how){ 0 }, NULL);
}

static struct pg_question *
ask_page(struct sweeper *s, const char *after)
{
	return pg_ask(s->pg, SQL_MIRROR_PAGE, 2, (const char *[]){ after, PAGE });
}

/* While Valkey takes one page, PostgreSQL reads the next. */
static bool
show_all(struct sweeper *s, struct seeding *seeding)
{
	struct pg_question *next = ask_page(s, NULL);
	bool good = true;

	while (next) {
		struct arena arena = { 0 };
		struct rows *rows;

		good = sweeper_answer(s, next, &rows) && good && sweeper_goes_on(s);
		next = NULL;
		if (good && rows_count(rows) > 0)
			next = ask_page(s, rows_text_at(rows, rows_count(rows) - 1, "mitra_id"));
		good = good && show_page(s, seeding, &arena, rows);
		rows_free(rows);
		arena_free(&arena);
	}
	return good;
}

static bool
show_page(struct sweeper *s, struct seeding *seeding, struct arena *arena, const struct rows *rows)
{
	struct mirror_state *states;
	size_t count = mirror_states_of(arena, rows, &states);

	for (size_t i = 0; i < count; i++) {
		known_add(&seeding->known, states[i].id);
		seeding->online += states[i].online;
		seeding->deactivated += !states[i].active;
		seeding->busy += strcmp(states[i].sessions, "0") != 0;
	}
	for (size_t at = 0; at < count; at += MIRROR_STATES_MAX) {
		size_t some = count - at < MIRROR_STATES_MAX ? count - at : MIRROR_STATES_MAX;

		if (!show_some(s, seeding, arena, states + at, some))
			return false;
	}
	return true;
}

/* So few that no heartbeat waits for long behind their commands. */
static bool
show_some(struct sweeper *s, struct seeding *seeding, struct arena *arena,
    struct mirror_state *states, size_t count)
{
	struct mirror_how how = { .stamp = *seeding->alive };
	struct mirror_applied applied;

	if (seeding->looking && !keep_doubtful(s, arena, states, &count))
		return false;
	if (count == 0)
		return true;
	if (!sweeper_apply(s, arena, states, count, how, &applied))
		return false;
	return applied.skipped == 0 || win_back(s, seeding, arena, &applied);
}

/*
 * Nearly always the mirror is right, and to look at it costs much less than to write it.  Whoever is seen as the truth has
 * him needs no writing: had the script been called at that moment, it would have changed nothing.
 */
static bool
keep_doubtful(struct sweeper *s, struct arena *arena, struct mirror_state *states, size_t *count)
{
	struct shown shown;
	size_t doubtful = 0;

	if (!shown_read(s, arena, states, *count, &shown))
		return false;
	for (size_t i = 0; i < *count; i++)
		if (!shown_is(&shown, i, &states[i]))
			states[doubtful++] = states[i];
	shown_free(&shown);
	*count = doubtful;
	return true;
}

/* Of those that the mirror skipped, the ones whose truth is behind still. Doubles hold any real version. */
static bool
win_back(struct sweeper *s, struct seeding *seeding, struct arena *arena,
    const struct mirror_applied *applied)
{
	const char **ids = arena_alloc(arena, sizeof(*ids) * (applied->skipped + 1));
	const char **expected = arena_alloc(arena, sizeof(*expected) * (applied->skipped + 1));
	struct mirror_state *states;
	struct rows *rows;
	size_t count, behind = 0, skip = 0;

	for (size_t i = 0; i < applied->skipped; i++)
		ids[i] = applied->skips[i].id;
	if (!sweeper_query(s, SQL_MIRROR_STATES, 1,
		(const char *[]){ sweeper_array(arena, ids, applied->skipped) }, &rows))
		return false;
	count = mirror_states_of(arena, rows, &states);
	rows_free(rows);

	for (size_t i = 0; i < count; i++) {
		/* Both in the order of the ids. */
		while (
		    skip < applied->skipped && strcmp(applied->skips[skip].id, states[i].id) != 0)
			skip++;
		if (skip == applied->skipped)
			break;
		if (strtod(states[i].version, NULL) >= strtod(applied->skips[skip].version, NULL))
			continue;
		expected[behind] = applied->skips[skip].version;
		states[behind++] = states[i];
	}
	if (behind == 0)
		return true;
	log_warning("[valkey-mirror] %zu mitras are older in the truth than in the mirror, as "
		    "after a restored backup:"
		    " the truth wins",
	    behind);
	return sweeper_apply(s, arena, states, behind,
	    (struct mirror_how){ .stamp = *seeding->alive, .expected = expected }, NULL);
}

static bool
finish(struct sweeper *s, struct seeding *seeding)
{
	struct valkey_batch *batch = valkey_batch_new(s->valkey);
	struct valkey_replies *replies;
	bool finished;

	valkey_add(batch, "EVAL", finish_script, "4", seeding->key, "mirror:generation",
	    "mirror:stamped", "mirror:dirty", strrchr(seeding->key, ':') + 1, seeding->alive, NULL);
	replies = sweeper_ask(s, batch);
	if (!replies)
		return false;
	finished = replies->reply[0]->integer == 1;
	valkey_replies_free(replies);
	if (!finished)
		snprintf(s->error, sizeof(s->error), "Valkey was emptied meanwhile");
	return finished;
}

/*
 * Whoever holds the lease must begin anew; if even this cannot be written, Valkey is down, and its return
 * is reason enough.
 */
static void
give_up(struct sweeper *s)
{
	struct valkey_batch *batch = valkey_batch_new(s->valkey);
	const char *ignored;

	s->reseed_due = true;
	valkey_add(batch, "SET", "mirror:dirty", "1", NULL);
	valkey_replies_free(valkey_wait(batch, &ignored));
}
