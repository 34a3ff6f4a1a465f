/*
 * sweeper: the process's life.
 *
 * Start: wait for PostgreSQL, settle what is overdue, seed the mirror, report ready.  Then, until TERM, a
 * watch every second and the passes of the table below, each at its period, one thing at a time.  If Valkey
 * is away, there is one warning and everything that needs no Valkey goes on.  At TERM the page that is under
 * way is finished, if the servers answer within half of the grace.
 */
#include "sweeper/sweeper.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <event2/dns.h>
#include <event2/event.h>

#include "common/boot.h"
#include "common/channel.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/counters.h"
#include "common/events.h"
#include "common/log.h"
#include "common/pg.h"
#include "common/valkey.h"

#define WATCH_PERIOD_MS     1000
#define WAKE_DELAY_MS       10
#define RETENTION_PERIOD_MS 600000
#define RETENTION_FIRST_MS  5000 /* somebody may restart us more often than that */
#define PG_RETRY_MS         200
#define START_RETRY_MS      1000
#define SETTLE_ATTEMPTS     3 /* at the start, while PostgreSQL is up */

static const struct pg_statement statements[] = {
#define STATEMENT(name, parameters, sql) { #name, sql, parameters },
#include "sweeper/statements.def"
#undef STATEMENT
};

/* The passes of the lease's holder, in the order in which they run when several are due. */
struct pass {
	bool (*run)(struct sweeper *);
	int64_t period_ms;       /* 0: never */
	uint64_t *last_success;  /* gauge: wall time, seconds */
	uint64_t *last_duration; /* gauge: milliseconds */
	int64_t first_ms; /* after the start, and again while another has the lease; 0: a period */
	int64_t due_ms;   /* monotonic */
};

static bool start(struct sweeper *);
static void run(struct sweeper *);
static int64_t first_ms(const struct pass *);
static void run_pass(struct sweeper *, struct pass *);

static void
on_alarm(evutil_socket_t fd, short events, void *argument)
{
}

static void
on_term(evutil_socket_t fd, short events, void *argument)
{
	struct sweeper *s = argument;
	struct timeval patience = clock_timeval(
	    s->config->shutdown_grace_seconds * INT64_C(1000) / 2);

	s->stopping = true;
	evtimer_add(s->impatience, &patience);
}

/* Half of the grace is over, and a server owes us the answer that the page waits for: it fails now. */
static void
on_impatience(evutil_socket_t fd, short events, void *argument)
{
	struct sweeper *s = argument;

	valkey_close(s->valkey);
	pg_close(s->pg);
}

/* A worker died: perhaps between commit and mirror, perhaps with a statement that still runs. */
static void
on_catch_up(void *argument)
{
	struct sweeper *s = argument;

	s->worker_died = true;
	s->reseed_again_ms = clock_monotonic_ms() + s->config->database_timeout_ms;
}

static void
on_valkey_state(void *argument, bool up)
{
	if (up)
		((struct sweeper *)argument)->reseed_due = true;
}

/* Somebody has changed what is due. A burst of changes costs one look. */
static void
on_wake(void *argument, const char *channel, const char *payload, size_t length)
{
	struct sweeper *s = argument;

	deadlines_look_within(s, WAKE_DELAY_MS);
}

static void
on_wake_subscribed(void *argument)
{
	deadlines_look_within(argument, 0);
}

static void
on_tick(void *argument)
{
	struct sweeper *s = argument;

	gauges.pg_up = pg_is_up(s->pg);
	gauges.pg_pending = pg_pending(s->pg);
	gauges.valkey_up = valkey_is_up(s->valkey);
	gauges.valkey_pending = valkey_pending(s->valkey);
	channel_status(s->channel, "%s the lease, postgres %s, valkey %s",
	    s->holds_lease ? "holds" : "waits for", pg_is_up(s->pg) ? "up" : "down",
	    valkey_is_up(s->valkey) ? "up" : "down");
}

void
sweeper_open(struct sweeper *s, const struct config *config)
{
	uint64_t word;

	*s = (struct sweeper){ .config = config };
	arc4random_buf(&word, sizeof(word));
	snprintf(s->lease, sizeof(s->lease), "%016" PRIx64, word);
	s->clock_offset_ms = clock_wall_ms() - clock_monotonic_ms();
	s->base = event_base_new();
	if (!s->base)
		fatal("no event loop");
	s->dns = evdns_base_new(
	    s->base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (!s->dns) /* there is no name server, so names are those of /etc/hosts */
		s->dns = evdns_base_new(s->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	s->alarm = evtimer_new(s->base, on_alarm, NULL);
	s->impatience = evtimer_new(s->base, on_impatience, s);
	if (!s->alarm || !s->impatience || !s->dns)
		fatal("out of memory");
	s->pg = pg_new(
	    s->base, s->dns, config, 1, statements, sizeof(statements) / sizeof(*statements));
	s->valkey = valkey_new(s->base, s->dns, config);
	s->mirror = mirror_new(s->base, s->valkey);
}

void
sweeper_close(struct sweeper *s)
{
	valkey_free(s->valkey);
	mirror_free(s->mirror);
	pg_free(s->pg);
	event_free(s->alarm);
	event_free(s->impatience);
	evdns_base_free(s->dns, 0);
	event_base_free(s->base);
}

void
sweeper_sleep(struct sweeper *s, int64_t ms)
{
	struct timeval span = clock_timeval(ms);

	log_flush();
	evtimer_add(s->alarm, &span);
	if (event_base_loop(s->base, EVLOOP_ONCE) < 0)
		fatal("the event loop failed");
	evtimer_del(s->alarm);
}

int
sweeper_main(const struct boot *boot)
{
	struct sweeper s;
	struct valkey_subscriber *wakes;
	struct event *term;
	bool started, outdated;

	sweeper_open(&s, boot->config);
	pg_require_schema(s.pg, boot->schema_stamp);
	s.channel = channel_new(s.base, boot->channel);
	channel_on_tick(s.channel, on_tick, &s);
	channel_on_catch_up(s.channel, on_catch_up, &s);
	valkey_on_state(s.valkey, on_valkey_state, &s);
	s.payments = payments_new(&s);
	wakes = valkey_subscriber_new(s.base, s.dns, boot->config,
	    (const char *const[]){ EVENTS_WAKE_CHANNEL }, 1, on_wake, on_wake_subscribed, &s);
	term = evsignal_new(s.base, SIGTERM, on_term, &s);
	if (!term || evsignal_add(term, NULL) != 0)
		fatal("no signals");

	started = start(&s);
	if (started && !s.stopping) {
		channel_ready(s.channel);
		run(&s);
		watch_drop_lease(&s);
	}
	outdated = pg_is_outdated(s.pg);
	event_free(term);
	valkey_subscriber_free(wakes);
	payments_free(s.payments);
	channel_free(s.channel);
	sweeper_close(&s);
	log_flush();
	return started ? 0 : outdated ? BOOT_EXIT_OUTDATED : 1;
}

/* Why the start fails. */
static bool
give_up(const char *what, const char *why)
{
	log_critical("[sweeper] %s: %s", what, why);
	return false;
}

/* PostgreSQL may come up later than we do, but not much. */
static bool
wait_for_truth(struct sweeper *s, int64_t until_ms)
{
	bool told = false;

	while (!pg_is_up(s->pg) && !s->stopping) {
		if (pg_is_outdated(s->pg))
			return give_up("PostgreSQL", pg_last_error(s->pg));
		if (clock_monotonic_ms() >= until_ms)
			return give_up("PostgreSQL is still away", pg_last_error(s->pg));
		if (*pg_last_error(s->pg) && !told) {
			log_warning("[sweeper] waiting for PostgreSQL: %s", pg_last_error(s->pg));
			told = true;
		}
		sweeper_sleep(s, PG_RETRY_MS);
	}
	return true;
}

/*
 * What is overdue is settled first.  PostgreSQL may go away again in the middle of it, too.  That somebody's locks are in the
 * way, those of an edit left open at psql for instance, is no reason not to serve.
 */
static bool
start(struct sweeper *s)
{
	int64_t until_ms = clock_monotonic_ms() +
			   (int64_t)s->config->startup_timeout_seconds * 1000;
	int failures = 0;

	while (wait_for_truth(s, until_ms)) {
		if (s->stopping)
			return true;
		if (deadlines(s) || (pg_is_up(s->pg) && ++failures == SETTLE_ATTEMPTS)) {
			reseed_and_log(
			    s, (struct reseed_how){ .listening = true, .stamping = true });
			return true;
		}
		if (clock_monotonic_ms() >= until_ms)
			return give_up("PostgreSQL goes away again and again", s->error);
		sweeper_sleep(s, START_RETRY_MS);
	}
	return false;
}

static bool
reseed_periodically(struct sweeper *s)
{
	return reseed_and_log(s, (struct reseed_how){ .stamping = true, .orphans = true });
}

static int64_t
sleep_ms(const struct sweeper *s, int64_t watch_due_ms)
{
	int64_t until_ms = watch_due_ms < s->deadlines_look_ms ? watch_due_ms
							       : s->deadlines_look_ms;
	int64_t left_ms = until_ms - clock_monotonic_ms();

	return left_ms > 0 ? left_ms : 0;
}

/*
 * Deadlines are not bound to the lease: they must be met while its holder is dying, too, and sweepers that act at
 * once share the work.
 */
static void
run(struct sweeper *s)
{
	const struct config *c = s->config;
	struct pass passes[] = {
		{ auto_offline, c->mitra_auto_offline_sweep_seconds * INT64_C(1000),
		    &gauges.auto_offline_success_timestamp_seconds,
		    &gauges.auto_offline_duration_milliseconds },
		{ heartbeats, c->heartbeat_mirror_interval_seconds * INT64_C(1000),
		    &gauges.heartbeat_mirror_success_timestamp_seconds,
		    &gauges.heartbeat_mirror_duration_milliseconds },
		{ reseed_periodically, c->valkey_online_mirror_sweep_seconds * INT64_C(1000),
		    &gauges.reseed_success_timestamp_seconds,
		    &gauges.reseed_duration_milliseconds },
		{ retention, RETENTION_PERIOD_MS, &gauges.retention_success_timestamp_seconds,
		    &gauges.retention_duration_milliseconds, RETENTION_FIRST_MS },
	};
	const size_t count = sizeof(passes) / sizeof(*passes);
	struct pass deadlines_pass = { deadlines, 0, &gauges.deadlines_success_timestamp_seconds,
		&gauges.deadlines_duration_milliseconds, 0, 0 };
	int64_t watch_due_ms = clock_monotonic_ms();

	for (size_t i = 0; i < count; i++)
		passes[i].due_ms = passes[i].period_ms ? watch_due_ms + first_ms(&passes[i])
						       : INT64_MAX;
	while (!s->stopping) {
		int64_t now_ms = clock_monotonic_ms();

		if (now_ms >= watch_due_ms || s->worker_died) {
			watch_due_ms = now_ms + WATCH_PERIOD_MS;
			watch(s);
		}
		for (size_t i = 0; i < count && !s->stopping; i++)
			if (now_ms >= passes[i].due_ms) {
				passes[i].due_ms = now_ms + (s->holds_lease ? passes[i].period_ms
									    : first_ms(&passes[i]));
				if (s->holds_lease)
					run_pass(s, &passes[i]);
			}
		if (clock_monotonic_ms() >= s->deadlines_look_ms)
			run_pass(s, &deadlines_pass);
		payments_take(s);
		sweeper_sleep(s, sleep_ms(s, watch_due_ms));
	}
}

static int64_t
first_ms(const struct pass *pass)
{
	return pass->first_ms != 0 ? pass->first_ms : pass->period_ms;
}

static void
run_pass(struct sweeper *s, struct pass *pass)
{
	int64_t began_ms = clock_monotonic_ms();

	if (pass->run(s))
		*pass->last_success = (uint64_t)clock_wall_ms() / 1000;
	else
		counters.pass_failures++;
	*pass->last_duration = (uint64_t)(clock_monotonic_ms() - began_ms);
}
