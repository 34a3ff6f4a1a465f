/*
 * watch: once a second, one look at Valkey and none at PostgreSQL.
 *
 * Who holds the lease does the sweeping for all instances; that only saves work, nothing would go wrong
 * without it. The holder reseeds at once when the mirror is not to be trusted: it was emptied (no
 * generation), some process could not write to it (dirty), Valkey was away, or for a while nobody could
 * hear heartbeats (alive is not what was stamped).
 *
 * A worker that died is told of by its master, and a whole instance by its silence: every process that writes to the
 * mirror says once a second that it is there (writers), and whoever finds that another has not for a while sets dirty.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/valkey.h"
#include "sweeper/sweeper.h"

#define LEASE_MS      "10000"
#define SILENT_S      "10" /* longer than any statement may run that a dead process has left behind */
#define CLOCK_STEP_MS 5000

/* KEYS: lease. ARGV: our word, its life in ms.  A lease without an end is nobody's: it was made by hand. */
static const char take_script[] =
    "if redis.call('PTTL', KEYS[1]) == -1 then redis.call('DEL', KEYS[1]) end "
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) "
    "end "
    "return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0";
static const char drop_script[] =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/* KEYS: writers, dirty. ARGV: who we are, and how many seconds of silence are too many. */
static const char attend_script[] =
    "local now = redis.call('TIME')[1] "
    "redis.call('ZADD', KEYS[1], now, ARGV[1]) "
    "if redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2]) > 0 then "
    " redis.call('SET', KEYS[2], '1') "
    "end "
    "return 1";

static bool look(struct sweeper *, bool *reseed_needed, bool *emptied);

void
watch(struct sweeper *s)
{
	bool needed, emptied;

	if (s->reseed_again_ms && clock_monotonic_ms() >= s->reseed_again_ms) {
		s->reseed_again_ms = 0;
		s->reseed_due = true;
	}
	watch_clock_set(s);
	if (!look(s, &needed, &emptied)) {
		s->holds_lease = true; /* nobody can tell, and sessions must end in time */
		if (strstr(s->error, "WRONGTYPE"))
			s->reseed_due = mend(s);
		return;
	}
	if (s->holds_lease && (needed || s->reseed_due))
		reseed_and_log(s, (struct reseed_how){ .listening = emptied, .stamping = true });
}

static bool
same_text(const redisReply *a, const redisReply *b)
{
	return b->type == REDIS_REPLY_STRING && strcmp(a->str, b->str) == 0;
}

/*
 * The wall clock was set: the time since when somebody listens is put to now, and as that was not stamped,
 * everyone online will be.  Who died with his statement still running is told to all, as another instance
 * may hold the lease.
 */
static bool
look(struct sweeper *s, bool *reseed_needed, bool *emptied)
{
	struct valkey_batch *batch = valkey_batch_new(s->valkey);
	struct valkey_replies *replies;
	redisReply **reply;
	char now[CLOCK_ISO_SIZE];
	size_t told = 0;

	clock_iso(clock_wall_ms(), now);
	if (s->clock_set && ++told)
		valkey_add(batch, "SET", "mirror:alive", now, "XX", "EX", "10", NULL);
	if (s->worker_died && ++told)
		valkey_add(batch, "SET", "mirror:dirty", "1", NULL);
	++told;
	valkey_add(batch, "EVAL", attend_script, "2", "mirror:writers", "mirror:dirty", s->lease,
	    SILENT_S, NULL);
	valkey_add(batch, "EVAL", take_script, "1", "sweeper:lease", s->lease, LEASE_MS, NULL);
	valkey_add(batch, "GET", "mirror:generation", NULL);
	valkey_add(batch, "GET", "mirror:dirty", NULL);
	valkey_add(batch, "GET", "mirror:alive", NULL);
	valkey_add(batch, "GET", "mirror:stamped", NULL);
	replies = sweeper_ask(s, batch);
	if (!replies)
		return false;
	s->clock_set = s->worker_died = false;
	s->lease_renewed_ms = clock_monotonic_ms();
	reply = replies->reply + told;
	s->holds_lease = reply[0]->integer == 1;
	*emptied = reply[1]->type != REDIS_REPLY_STRING;
	*reseed_needed = *emptied || reply[2]->type == REDIS_REPLY_STRING ||
			 (reply[3]->type == REDIS_REPLY_STRING && !same_text(reply[3], reply[4]));
	valkey_replies_free(replies);
	return true;
}

bool
watch_clock_set(struct sweeper *s)
{
	int64_t offset_ms = clock_wall_ms() - clock_monotonic_ms();
	int64_t step_ms = offset_ms - s->clock_offset_ms;

	s->clock_offset_ms = offset_ms;
	if (llabs(step_ms) > CLOCK_STEP_MS) {
		log_warning(
		    "[sweeper] the clock was set by %.0f s: everyone online gets a fresh stamp",
		    (double)step_ms / 1000);
		s->clock_set = true;
	}
	return s->clock_set;
}

void
watch_renew_lease(struct sweeper *s)
{
	struct valkey_batch *batch = valkey_batch_new(s->valkey);

	valkey_add(batch, "EVAL", take_script, "1", "sweeper:lease", s->lease, LEASE_MS, NULL);
	s->lease_renewed_ms = clock_monotonic_ms();
	valkey_replies_free(sweeper_ask(s, batch));
}

void
watch_drop_lease(struct sweeper *s)
{
	struct valkey_batch *batch = valkey_batch_new(s->valkey);

	valkey_add(batch, "EVAL", drop_script, "1", "sweeper:lease", s->lease, NULL);
	if (!mirror_owes(s->mirror))
		valkey_add(batch, "ZREM", "mirror:writers", s->lease, NULL);
	valkey_replies_free(sweeper_ask(s, batch));
}
