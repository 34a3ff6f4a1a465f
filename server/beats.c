/*
 * beats: a mitra's heartbeat.
 *
 * With Valkey there it is one pipeline and no SQL.  Whom the mirror does not know (an orphan, a healed
 * key, an app that beats while offline), and everybody while Valkey is away, is asked of the truth:
 * not one statement each, but one for all who wait, while the next ones gather.  So PostgreSQL sees at
 * most one such statement per process at a time, and its timestamps go on, which keeps the fallback
 * reads right through an outage.
 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/pg.h"
#include "common/valkey.h"
#include "server/fallback.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/step.h"

#define BATCH_MAX 1000 /* requests answered by one statement */

/* What the truth says of a mitra; zero: it does not know him. */
enum truth {
	TRUTH_UNKNOWN,
	TRUTH_INACTIVE,
	TRUTH_OFFLINE,
	TRUTH_ONLINE,
};

/* A request of the batch, with the truth's answer to it once that is there. */
struct asked {
	struct request *request;
	enum truth truth;
};

struct beats {
	struct worker *worker;
	struct request *waiting; /* linked by `sharing` */

	/* The batch that PostgreSQL, then the mirror, is working on. */
	bool under_way;
	struct asked asked[BATCH_MAX]; /* sorted by the caller's id */
	size_t asked_count;
	struct arena arena;
};

static mirror_beat_fn beat_heard;
static void beats_ask(struct beats *);
static pg_done_fn beats_asked;
static mirror_done_fn beats_healed;
static void beats_finished(struct beats *);

struct beats *
beats_new(struct worker *worker)
{
	struct beats *beats = calloc(1, sizeof(*beats));

	if (beats == NULL)
		fatal("out of memory");
	beats->worker = worker;
	return beats;
}

outcome
mitra_beat(struct request *r, flag_fn *next)
{
	r->next.flag = next;
	mirror_beat(r->worker->mirror, r->caller.id, beat_heard, r);
	return step_waiting_();
}

static void
beat_heard(void *argument, const char *error, enum mirror_beat beat)
{
	struct request *r = argument;
	struct beats *beats = r->worker->beats;

	if (error == NULL && beat == BEAT_STORED) {
		(void)r->next.flag(r, true);
		return;
	}
	if (error == NULL && beat == BEAT_INACTIVE) {
		(void)reply_problem(r, PROBLEM_ACCOUNT_INACTIVE, NULL);
		return;
	}
	if (error != NULL)
		fallback_noted(r, "[heartbeat] valkey check failed, falling back to DB", error);
	r->sharing = beats->waiting;
	beats->waiting = r;
	beats_ask(beats);
}

static int
by_caller(const void *a, const void *b)
{
	const struct asked *left = a, *right = b;

	return strcmp(left->request->caller.id, right->request->caller.id);
}

/* "{id,id,…}", PostgreSQL's text form of the array of distinct callers. */
static const char *
ids_of(struct beats *beats)
{
	char *text = arena_alloc(&beats->arena, beats->asked_count * UUID_SIZE + 3), *end = text;

	*end++ = '{';
	for (size_t i = 0; i < beats->asked_count; i++) {
		const struct asked *asked = &beats->asked[i];

		if (i > 0 && by_caller(asked - 1, asked) == 0)
			continue;
		if (i > 0)
			*end++ = ',';
		memcpy(end, asked->request->caller.id, UUID_SIZE - 1);
		end += UUID_SIZE - 1;
	}
	memcpy(end, "}", 2);
	return text;
}

static void
beats_ask(struct beats *beats)
{
	const char *ids;

	if (beats->under_way || beats->waiting == NULL)
		return;
	beats->under_way = true;
	for (beats->asked_count = 0; beats->asked_count < BATCH_MAX && beats->waiting != NULL;) {
		beats->asked[beats->asked_count++] = (struct asked){ .request = beats->waiting };
		beats->waiting = beats->waiting->sharing;
	}
	qsort(beats->asked, beats->asked_count, sizeof(beats->asked[0]), by_caller);
	ids = ids_of(beats);
	pg_submit(beats->worker->pg, SQL_MITRA_BEAT, 1, &ids, beats_asked, beats);
}

/* The first of the batch's requests by that caller; the batch's end if there is none. */
static size_t
first_of(const struct beats *beats, const char *id)
{
	size_t low = 0, high = beats->asked_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (strcmp(beats->asked[middle].request->caller.id, id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static enum truth
truth_of(const struct rows *rows, int row)
{
	if (!rows_flag_at(rows, row, "known"))
		return TRUTH_UNKNOWN;
	if (!rows_flag_at(rows, row, "active"))
		return TRUTH_INACTIVE;
	return rows_flag_at(rows, row, "online") ? TRUTH_ONLINE : TRUTH_OFFLINE;
}

/* Notes what the truth says for every request of the batch; who has no row is unknown to it. */
static void
truth_noted(struct beats *beats, const struct rows *rows)
{
	for (int row = 0; row < rows_count(rows); row++) {
		const char *id = rows_text_at(rows, row, "mitra_id");

		for (size_t i = first_of(beats, id); i < beats->asked_count; i++) {
			if (strcmp(beats->asked[i].request->caller.id, id) != 0)
				break;
			beats->asked[i].truth = truth_of(rows, row);
		}
	}
}

static void
beats_failed(struct beats *beats, enum pg_status status, const struct rows *rows)
{
	for (size_t i = 0; i < beats->asked_count; i++)
		(void)db_failed(beats->asked[i].request, SQL_MITRA_BEAT, status, rows);
	beats_finished(beats);
}

static void
beats_asked(void *argument, enum pg_status status, const struct rows *rows)
{
	struct beats *beats = argument;
	struct mirror_state *states;
	size_t count;

	if (status != PG_OK) {
		beats_failed(beats, status, rows);
		return;
	}
	truth_noted(beats, rows);
	count = mirror_states_of(&beats->arena, rows, &states);
	if (count == 0 || !valkey_is_up(beats->worker->valkey))
		beats_healed(beats, NULL);
	else
		mirror_apply(beats->worker->mirror, states, count, beats_healed, beats);
}

static void
beat_answer(const struct asked *asked)
{
	struct request *r = asked->request;

	switch (asked->truth) {
	case TRUTH_UNKNOWN:
		(void)reply_problem(r, PROBLEM_UNAUTHENTICATED, NULL);
		return;
	case TRUTH_INACTIVE:
		(void)reply_problem(r, PROBLEM_ACCOUNT_INACTIVE, NULL);
		return;
	case TRUTH_OFFLINE:
	case TRUTH_ONLINE:
		(void)r->next.flag(r, asked->truth == TRUTH_ONLINE);
		return;
	}
}

static void
beats_healed(void *argument, const char *error)
{
	struct beats *beats = argument;

	if (error != NULL)
		log_warning("[valkey-mirror] %zu heartbeats could not be healed: %s",
		    beats->asked_count, error);
	for (size_t i = 0; i < beats->asked_count; i++)
		beat_answer(&beats->asked[i]);
	beats_finished(beats);
}

static void
beats_finished(struct beats *beats)
{
	arena_free(&beats->arena);
	beats->under_way = false;
	beats_ask(beats);
}
