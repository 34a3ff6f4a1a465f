/*
 * mirror: writing.
 *
 * A set of states becomes one Valkey batch of EVALSHA commands, MIRROR_STATES_MAX states in each, so that
 * no single script holds Valkey up for long.  If Valkey does not know the script (it was restarted, or
 * flushed), the same batch goes out once more behind a SCRIPT LOAD: applying a state twice is the same as
 * once.
 *
 * A state that could not be written is not kept: the truth has it.  As soon as Valkey can be reached the
 * process sets mirror:dirty, and the sweeper reseeds.  And as somebody was promised what is missing (a
 * deactivation, say), mirror:generation is taken away, so that everybody asks the truth until then.
 */
#include "common/mirror.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <openssl/evp.h>

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/mirror_private.h"
#include "common/pg.h"
#include "common/valkey.h"

#define STATE_FIELDS  7 /* of mirror.lua's ARGV, for every state */
#define HEADER_FIELDS 8 /* EVALSHA, its digest, no keys, now, now in ms, horizon, mode, cutoff */

#define BELIEVABLE_MS 60000 /* a heartbeat further ahead is of a clock that was set back since */
#define TELL_AGAIN_MS 200

struct apply {
	struct mirror *mirror;
	struct arena arena;  /* holds all of this, and the states' texts */
	const char **fields; /* STATE_FIELDS for every state */
	size_t states;
	bool stamp;
	const char *cutoff;   /* "" if none */
	bool loading;         /* the script goes along: not to know it is then an error */
	mirror_done_fn *done; /* one of the two */
	mirror_applied_fn *applied;
	void *argument;
};

static struct apply *
apply_new(struct mirror *, const struct mirror_state *, size_t, struct mirror_how);
static void apply_send(struct apply *);
static valkey_done_fn apply_replied;
static void apply_end(struct apply *, const char *error, const struct mirror_applied *);
static void tell_later(struct mirror *);
static void tell_now(evutil_socket_t, short, void *);
static void doubt_ends(evutil_socket_t, short, void *);
static valkey_done_fn told;

static void
script_digest(char text[41])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int length;

	if (!EVP_Digest(mirror_script, strlen(mirror_script), digest, &length, EVP_sha1(), NULL))
		fatal("mirror: OpenSSL has no SHA-1");
	for (unsigned int i = 0; i < length; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

struct mirror *
mirror_new(struct event_base *base, struct valkey *valkey)
{
	struct mirror *mirror = calloc(1, sizeof(*mirror));

	if (!mirror)
		fatal("mirror: out of memory");
	mirror->base = base;
	mirror->valkey = valkey;
	mirror->limits = (struct mirror_limits){ .stale_after_ms = 90000, .max_sessions = 3 };
	script_digest(mirror->script_sha);
	mirror->tell = evtimer_new(base, tell_now, mirror);
	mirror->doubt = evtimer_new(base, doubt_ends, mirror);
	if (!mirror->tell || !mirror->doubt)
		fatal("mirror: no timer");
	beats_init(mirror);
	snapshot_init(mirror);
	return mirror;
}

void
mirror_free(struct mirror *mirror)
{
	if (!mirror)
		return;
	snapshot_free(mirror);
	beats_free(mirror);
	event_free(mirror->tell);
	event_free(mirror->doubt);
	free(mirror);
}

void
mirror_set_limits(struct mirror *mirror, struct mirror_limits limits)
{
	mirror->limits = limits;
}

struct mirror_limits
mirror_limits_of(const struct mirror *mirror)
{
	return mirror->limits;
}

size_t
mirror_states_of(struct arena *arena, const struct rows *rows, struct mirror_state **states)
{
	int count = rows_count(rows);
	size_t found = 0;

	*states = arena_alloc(arena, sizeof(**states) * (size_t)(count + 1));
	for (int row = 0; row < count; row++) {
		const char *version = rows_text_at(rows, row, "version");
		const char *heartbeat = rows_text_at(rows, row, "heartbeat");

		if (!version)
			continue;
		(*states)[found++] = (struct mirror_state){
			.id = arena_strdup(arena, rows_text_at(rows, row, "mitra_id")),
			.version = arena_strdup(arena, version),
			.online = rows_flag_at(rows, row, "online"),
			.active = rows_flag_at(rows, row, "active"),
			.sessions = arena_strdup(arena, rows_text_at(rows, row, "sessions")),
			.heartbeat = heartbeat ? arena_strdup(arena, heartbeat) : NULL,
		};
	}
	return found;
}

void
mirror_apply(struct mirror *mirror, const struct mirror_state *states, size_t count,
    mirror_done_fn *done, void *argument)
{
	struct apply *apply = apply_new(mirror, states, count, (struct mirror_how){ 0 });

	apply->done = done;
	apply->argument = argument;
	apply_send(apply);
}

void
mirror_apply_as(struct mirror *mirror, const struct mirror_state *states, size_t count,
    struct mirror_how how, mirror_applied_fn *applied, void *argument)
{
	struct apply *apply = apply_new(mirror, states, count, how);

	apply->applied = applied;
	apply->argument = argument;
	apply_send(apply);
}

static struct apply *
apply_new(
    struct mirror *mirror, const struct mirror_state *states, size_t count, struct mirror_how how)
{
	struct arena arena = { 0 };
	struct apply *apply = arena_alloc(&arena, sizeof(*apply));
	const char **field = arena_alloc(&arena, sizeof(*field) * (STATE_FIELDS * count + 1));

	*apply = (struct apply){ .mirror = mirror,
		.fields = field,
		.states = count,
		.stamp = how.stamp,
		.cutoff = arena_strdup(&arena, how.cutoff ? how.cutoff : "") };
	for (size_t i = 0; i < count; i++) {
		const struct mirror_state *state = &states[i];
		const char *expected = how.expected ? how.expected[i] : NULL;

		*field++ = arena_strdup(&arena, state->id);
		*field++ = arena_strdup(&arena, state->version);
		*field++ = state->online ? "1" : "0";
		*field++ = state->active ? "1" : "0";
		*field++ = arena_strdup(&arena, state->sessions);
		*field++ = arena_strdup(&arena, state->heartbeat ? state->heartbeat : "");
		*field++ = arena_strdup(&arena, expected ? expected : "");
	}
	apply->arena = arena;
	return apply;
}

static void
apply_send(struct apply *apply)
{
	struct valkey_batch *batch = valkey_batch_new(apply->mirror->valkey);
	char now[CLOCK_ISO_SIZE], ms[24], horizon[CLOCK_ISO_SIZE];
	const char *arguments[HEADER_FIELDS + STATE_FIELDS * MIRROR_STATES_MAX];
	int64_t now_ms = clock_wall_ms();

	clock_iso(now_ms, now);
	snprintf(ms, sizeof(ms), "%" PRId64, now_ms);
	clock_iso(now_ms + BELIEVABLE_MS, horizon);
	memcpy(arguments,
	    (const char *[]){ "EVALSHA", apply->mirror->script_sha, "0", now, ms, horizon,
		apply->stamp ? "stamp" : "plain", apply->cutoff },
	    sizeof(*arguments) * HEADER_FIELDS);
	if (apply->loading)
		valkey_add(batch, "SCRIPT", "LOAD", mirror_script, NULL);
	for (size_t at = 0; at < apply->states || at == 0; at += MIRROR_STATES_MAX) {
		size_t left = apply->states - at;
		size_t fields = STATE_FIELDS *
				(left < MIRROR_STATES_MAX ? left : MIRROR_STATES_MAX);

		memcpy(arguments + HEADER_FIELDS, apply->fields + STATE_FIELDS * at,
		    sizeof(*arguments) * fields);
		mirror_add(batch, HEADER_FIELDS + fields, arguments);
	}
	valkey_send(batch, apply_replied, apply);
}

static bool
is_unknown_script(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOSCRIPT", 8) == 0;
}

/* Adds one script's answer: how many were applied, then id and reason of each skipped. Returns an error. */
static const char *
count_reply(struct mirror_applied *result, struct mirror_skip *skips, const redisReply *reply)
{
	if (reply->type == REDIS_REPLY_ERROR)
		return reply->str;
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 1)
		return "the mirror's script answered nonsense";
	result->applied += (size_t)reply->element[0]->integer;
	for (size_t i = 1; i + 1 < reply->elements; i += 2)
		skips[result->skipped++] = (struct mirror_skip){
			.id = reply->element[i]->str,
			.version = reply->element[i + 1]->str,
		};
	return NULL;
}

static void
apply_replied(void *argument, const char *error, redisReply *const *replies)
{
	struct apply *apply = argument;
	size_t scripts = apply->states ? (apply->states + MIRROR_STATES_MAX - 1) / MIRROR_STATES_MAX
				       : 1;
	struct mirror_skip *skips;
	struct mirror_applied result = { 0 };

	if (error) {
		apply_end(apply, error, NULL);
		return;
	}
	if (apply->loading)
		replies++;
	for (size_t i = 0; i < scripts && !apply->loading; i++)
		if (is_unknown_script(replies[i])) {
			apply->loading = true;
			apply_send(apply);
			return;
		}
	skips = arena_alloc(&apply->arena, sizeof(*skips) * (apply->states + 1));
	result.skips = skips;
	for (size_t i = 0; i < scripts && !error; i++)
		error = count_reply(&result, skips, replies[i]);
	apply_end(apply, error, error ? NULL : &result);
}

static void
apply_end(struct apply *apply, const char *error, const struct mirror_applied *result)
{
	struct arena arena = apply->arena;

	if (error) {
		counters.mirror_failed += apply->states;
		apply->mirror->lacks_state = true;
		mirror_suspect(apply->mirror, 0);
	} else {
		counters.mirror_applied += result->applied;
		counters.mirror_skipped += result->skipped;
	}
	if (apply->done)
		apply->done(apply->argument, error);
	else
		apply->applied(apply->argument, error, result);
	arena_free(&arena);
}

void
mirror_suspect(struct mirror *mirror, int64_t within_ms)
{
	struct timeval delay = clock_timeval(within_ms);

	mirror->failures++;
	tell_later(mirror);
	if (within_ms > 0)
		evtimer_add(mirror->doubt, &delay);
}

static void
doubt_ends(evutil_socket_t fd, short events, void *argument)
{
	mirror_suspect(argument, 0);
}

static void
tell_later(struct mirror *mirror)
{
	struct timeval delay = clock_timeval(TELL_AGAIN_MS);

	if (!evtimer_pending(mirror->tell, NULL))
		evtimer_add(mirror->tell, &delay);
}

struct telling {
	struct mirror *mirror;
	uint64_t failures; /* all of them that mirror:dirty will stand for */
};

static void
tell_now(evutil_socket_t fd, short events, void *argument)
{
	struct mirror *mirror = argument;
	struct telling *telling;
	struct valkey_batch *batch;

	if (!valkey_is_up(mirror->valkey)) {
		tell_later(mirror);
		return;
	}
	telling = malloc(sizeof(*telling));
	if (!telling)
		fatal("mirror: out of memory");
	*telling = (struct telling){ .mirror = mirror, .failures = mirror->failures };
	batch = valkey_batch_new(mirror->valkey);
	valkey_add(batch, "SET", "mirror:dirty", "1", NULL);
	if (mirror->lacks_state)
		valkey_add(batch, "DEL", "mirror:generation", NULL);
	valkey_send(batch, told, telling);
}

static void
told(void *argument, const char *error, redisReply *const *replies)
{
	struct telling *telling = argument;
	struct mirror *mirror = telling->mirror;

	if (!error && replies[0]->type != REDIS_REPLY_ERROR)
		mirror->failures_told = telling->failures;
	if (mirror->failures_told == mirror->failures)
		mirror->lacks_state = false;
	free(telling);
	if (mirror->failures_told != mirror->failures)
		tell_later(mirror);
}

void
mirror_listen(struct mirror *mirror)
{
	struct valkey_batch *batch;
	char now[CLOCK_ISO_SIZE];

	if (!valkey_is_up(mirror->valkey))
		return;
	clock_iso(clock_wall_ms(), now);
	batch = valkey_batch_new(mirror->valkey);
	valkey_add(batch, "SET", "mirror:alive", now, "NX", "EX", "10", NULL);
	valkey_add(batch, "EXPIRE", "mirror:alive", "10", NULL);
	valkey_send(batch, mirror_ignore, NULL);
}

/* By Valkey's clock, as the clocks of machines differ. KEYS: writers. ARGV: who. */
static const char attend_script[] =
    "return redis.call('ZADD', KEYS[1], redis.call('TIME')[1], ARGV[1])";

void
mirror_attend(struct mirror *mirror)
{
	struct valkey_batch *batch;

	if (!valkey_is_up(mirror->valkey))
		return;
	batch = valkey_batch_new(mirror->valkey);
	valkey_add(
	    batch, "EVAL", attend_script, "1", "mirror:writers", mirror->snapshot.token, NULL);
	valkey_send(batch, mirror_ignore, NULL);
}

bool
mirror_owes(const struct mirror *mirror)
{
	return mirror->failures_told != mirror->failures || evtimer_pending(mirror->doubt, NULL);
}

void
mirror_leave(struct mirror *mirror)
{
	struct valkey_batch *batch;

	if (mirror_owes(mirror))
		return;
	batch = valkey_batch_new(mirror->valkey);
	valkey_add(batch, "ZREM", "mirror:writers", mirror->snapshot.token, NULL);
	valkey_send(batch, mirror_ignore, NULL);
}

void
mirror_add(struct valkey_batch *batch, size_t arguments, const char *const *values)
{
	size_t *lengths = calloc(arguments, sizeof(*lengths));

	if (!lengths)
		fatal("mirror: out of memory");
	for (size_t i = 0; i < arguments; i++)
		lengths[i] = strlen(values[i]);
	valkey_add_argv(batch, (int)arguments, values, lengths);
	free(lengths);
}

void
mirror_ignore(void *argument, const char *error, redisReply *const *replies)
{
}
