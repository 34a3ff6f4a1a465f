/* rate_limit: asks Valkey, or the table of this process; then the headers, and on or 429. */
#include "server/sign_in/rate_limit.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/counters.h"
#include "common/json.h"
#include "common/log.h"
#include "common/valkey.h"
#include "server/sign_in/rate_table.h"
#include "server/reply.h"
#include "server/request.h"

#define PERIOD_MS 60000

struct rate_row {
	const char *name;
	const char *config_key;
	int per_minute;
};

static const struct rate_row rates[RATES] = {
#define RATE(id, name, config_key, per_minute) [RATE_##id] = { name, config_key, per_minute },
#include "server/sign_in/rates.def"
#undef RATE
};

struct rate_limiter {
	int per_minute[RATES];
	struct rate_table table;
};

extern const char rate_limit_script[];

struct rate_limiter *
rate_limiter_new(void)
{
	struct rate_limiter *limiter = calloc(1, sizeof(*limiter));

	if (limiter == NULL)
		fatal("out of memory");
	rate_table_init(&limiter->table);
	rate_limiter_configure(limiter, NULL);
	return limiter;
}

void
rate_limiter_free(struct rate_limiter *limiter)
{
	free(limiter);
}

void
rate_limiter_configure(struct rate_limiter *limiter, const struct json *config)
{
	for (size_t i = 0; i < RATES; i++) {
		const struct json *value = config == NULL
					       ? NULL
					       : json_member(config, rates[i].config_key);

		limiter->per_minute[i] = value == NULL || value->type != JSON_INTEGER ||
						 value->integer < 1
					     ? rates[i].per_minute
					     : (int)value->integer;
	}
}

static int
seconds_of(int64_t ms)
{
	return (int)((ms + 999) / 1000);
}

static outcome
judge(struct request *r, struct rate_verdict verdict)
{
	const char *name = rates[r->rate].name;

	reply_header(r, "RateLimit-Policy",
	    arena_printf(&r->arena, "\"%s\";q=%d;w=%d", name,
		r->worker->rate_limiter->per_minute[r->rate], PERIOD_MS / 1000));
	reply_header(r, "RateLimit",
	    arena_printf(&r->arena, "\"%s\";r=%d;t=%d", name, (int)verdict.left,
		seconds_of(verdict.taken ? verdict.full_ms : verdict.retry_ms)));
	if (verdict.taken)
		return r->next.step(r);
	counters.rate_limited++;
	return reply_problem_more(r, PROBLEM_RATE_LIMITED,
	    (struct problem_more){ .retry_after_seconds = seconds_of(verdict.retry_ms) });
}

static bool
verdict_read(const redisReply *reply, struct rate_verdict *verdict)
{
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 4)
		return false;
	for (size_t i = 0; i < 4; i++)
		if (reply->element[i]->type != REDIS_REPLY_INTEGER)
			return false;
	*verdict = (struct rate_verdict){
		.taken = reply->element[0]->integer == 1,
		.left = reply->element[1]->integer,
		.full_ms = reply->element[2]->integer,
		.retry_ms = reply->element[3]->integer,
	};
	return true;
}

/* Valkey's own client logs that it is away; who comes meanwhile need not say so again. */
static void
bucket_asked(void *argument, const char *error, redisReply *const *replies)
{
	struct request *r = argument;
	struct rate_limiter *limiter = r->worker->rate_limiter;
	struct rate_verdict verdict;

	if (error != NULL || !verdict_read(replies[0], &verdict))
		verdict = rate_table_take(&limiter->table, rates[r->rate].name, r->rate_key,
		    limiter->per_minute[r->rate], PERIOD_MS, clock_monotonic_us());
	(void)judge(r, verdict);
}

outcome
rate_limit(struct request *r, enum rate rate, const char *key, step_fn *next)
{
	struct valkey_batch *batch = valkey_batch_new(r->worker->valkey);
	const char *bucket = arena_printf(&r->arena, "mirror:rate:%s:%s", rates[rate].name, key);

	r->rate = rate;
	r->rate_key = key;
	r->next.step = next;
	valkey_add(batch, "EVAL", rate_limit_script, "1", bucket,
	    arena_printf(&r->arena, "%d", r->worker->rate_limiter->per_minute[rate]),
	    arena_printf(&r->arena, "%d", PERIOD_MS), NULL);
	valkey_send(batch, bucket_asked, r);
	return step_waiting_();
}
