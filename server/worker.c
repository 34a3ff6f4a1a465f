/*
 * worker: a process's life, in this order: connect, listen, report ready, serve, and at TERM drain.
 *
 * Draining: probes say so first, nobody is accepted who has not connected yet, idle connections are closed, answers bear
 * `Connection: close`, and when the last connection is gone, or the grace is nearly over, the process
 * ends.  Who still waits for a server then is answered 503.  Only then is evhttp freed: it must not be
 * while requests are pending.
 *
 * Until the last is answered it may write to the mirror, and says so: killed before, it is missed (sweeper/watch.c).
 */
#include "server/worker.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/http.h>

#include "common/boot.h"
#include "common/channel.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/counters.h"
#include "common/http_client.h"
#include "common/log.h"
#include "common/mirror.h"
#include "common/pg.h"
#include "common/pool.h"
#include "common/valkey.h"
#include "server/dashboard.h"
#include "server/dispatch.h"
#include "server/event_waits.h"
#include "server/gate/framing.h"
#include "server/sign_in/hasher.h"
#include "server/app_config.h"
#include "server/client_address.h"
#include "server/sign_in/jwks.h"
#include "server/sign_in/otp_sender.h"
#include "server/sign_in/rate_limit.h"
#include "server/routes.h"
#include "server/step.h"
#include "server/sign_in/token.h"

#define DESCRIPTORS_KEPT 64 /* for PostgreSQL, Valkey, the channel, the log, the listeners */
#define CALLBACKS_MOST   64 /* of clients, before PostgreSQL is looked at again */
#define FIRST_CONNECT_MS \
	1000 /* how long a new worker waits for its servers before it serves without them */

static void worker_connect(struct worker *);
static void worker_listen(struct worker *);
static void worker_report_ready(struct worker *);
static void worker_serve(struct worker *);
static void worker_leave(struct worker *);
static void worker_give_up(struct worker *);
static void worker_close(struct worker *);

int
worker_main(const struct boot *boot)
{
	struct worker worker = { .boot = boot, .config = boot->config };

	pool_install();
	worker_connect(&worker);
	worker_listen(&worker);
	worker_report_ready(&worker);
	worker_serve(&worker);
	worker_leave(&worker);
	worker_give_up(&worker);
	worker_close(&worker);
	return 0;
}

static void
message_arrived(void *argument, const char *channel, const char *payload, size_t length)
{
	struct worker *worker = argument;

	if (strncmp(channel, "user:", 5) == 0)
		event_waits_message(worker->event_waits, channel);
	else if (strcmp(channel, DASHBOARD_CHANNEL) == 0)
		dashboard_stream_message(worker->dashboard_stream, payload, length);
	else
		app_config_reload(worker->app_config);
}

/* What was published while we were not subscribed is lost, so we read again whatever it may have been. */
static void
subscribed(void *argument)
{
	struct worker *worker = argument;

	app_config_reload(worker->app_config);
	event_waits_subscribed(worker->event_waits);
	dashboard_stream_subscribed(worker->dashboard_stream);
}

static void
channel_confirmed(void *argument, const char *channel)
{
	struct worker *worker = argument;

	event_waits_confirmed(worker->event_waits, channel);
}

static void
gauges_set(void *argument)
{
	struct worker *worker = argument;

	gauges.http_connections = 0;
	for (int kind = 0; kind < LISTENER_KINDS; kind++)
		if (worker->framing[kind] != NULL)
			gauges.http_connections += framing_connections(worker->framing[kind]);
	gauges.http_in_flight = worker->requests_pending;
	gauges.event_waits = event_waits_count(worker->event_waits);
	gauges.dashboard_readers = dashboard_stream_readers(worker->dashboard_stream);
	gauges.pg_up = pg_is_up(worker->pg);
	gauges.pg_pending = pg_pending(worker->pg);
	gauges.valkey_up = valkey_is_up(worker->valkey);
	gauges.valkey_pending = valkey_pending(worker->valkey);
	channel_status(worker->channel,
	    "%s, %zu connections, %zu requests in flight, postgres %s, valkey %s",
	    worker->draining ? "draining" : "serving", (size_t)gauges.http_connections,
	    worker->requests_pending, gauges.pg_up ? "up" : "down",
	    gauges.valkey_up ? "up" : "down");
}

/*
 * Two priorities: PostgreSQL's events (common/pg_private.h) come before those of clients, or else a crowd that must
 * be refused would keep the worker from asking the server for what it could answer.
 *
 * With the change list, epoll is told of all changes of a loop turn at once.  It must not be used with
 * descriptors that were dup()ed; ours were not.
 */
static struct event_base *
base_new(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base;

	if (config == NULL ||
	    event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST) != 0 ||
	    event_config_set_max_dispatch_interval(config, NULL, CALLBACKS_MOST, 1) != 0)
		fatal("out of memory");
	base = event_base_new_with_config(config);
	event_config_free(config);
	if (base == NULL || event_base_priority_init(base, 2) != 0)
		fatal("out of memory");
	return base;
}

static void
worker_connect(struct worker *worker)
{
	static const char *const channels[] = { "config:invalidate" };
	const struct config *config = worker->config;

	worker->base = base_new();
	if (worker->base == NULL)
		fatal("no event base");
	/* Broken name service files are no reason to stop: addresses still work. */
	worker->dns = evdns_base_new(
	    worker->base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	worker->channel = channel_new(worker->base, worker->boot->channel);
	channel_on_tick(worker->channel, gauges_set, worker);
	worker->token_keys = token_keys_new(config);
	worker->proxies = proxies_new(config);
	worker->rate_limiter = rate_limiter_new();
	worker->http_client = http_client_new(worker->base, config->https_ca_file);
	worker->google_keys = jwks_new(worker, config->google_jwks_url);
	worker->apple_keys = jwks_new(worker, config->apple_jwks_url);
	worker->otp_sender = otp_sender_of(config);
	worker->pg = pg_new(worker->base, worker->dns, config,
	    config->database_connections_per_worker, statements, STATEMENTS);
	pg_require_schema(worker->pg, worker->boot->schema_stamp);
	worker->valkey = valkey_new(worker->base, worker->dns, config);
	worker->mirror = mirror_new(worker->base, worker->valkey);
	worker->flights = flights_new(worker);
	worker->beats = beats_new(worker);
	worker->hasher = hasher_new(worker->base);
	worker->app_config = app_config_new(worker);
	worker->event_waits = event_waits_new(worker);
	worker->dashboard = dashboard_new(worker);
	worker->dashboard_stream = dashboard_stream_new(worker);
	worker->subscriber = valkey_subscriber_new(
	    worker->base, worker->dns, config, channels, 1, message_arrived, subscribed, worker);
	valkey_subscriber_on_confirmed(worker->subscriber, channel_confirmed);
}

static void
public_request(struct evhttp_request *http, void *argument)
{
	dispatch(argument, http, LISTENER_PUBLIC);
}

static void
internal_request(struct evhttp_request *http, void *argument)
{
	dispatch(argument, http, LISTENER_INTERNAL);
}

/* Apps may use up all descriptors but those that operators and our own connections need. */
static size_t
connections_most(enum boot_listener_kind kind)
{
	struct rlimit files = { .rlim_cur = 1024 };
	size_t share;

	getrlimit(RLIMIT_NOFILE, &files);
	share = files.rlim_cur > 1024 * 1024 ? 1024 * 1024 : (size_t)files.rlim_cur;
	share = share > 2 * DESCRIPTORS_KEPT ? share - DESCRIPTORS_KEPT : share / 2;
	return kind == LISTENER_INTERNAL ? share / 8 + 1 : share - share / 8;
}

static void
listener_open(struct worker *worker, enum boot_listener_kind kind)
{
	struct framing_limits limits = FRAMING_LIMITS(connections_most(kind));

	worker->http[kind] = evhttp_new(worker->base);
	if (worker->http[kind] == NULL)
		fatal("no evhttp");
	worker->framing[kind] = framing_new(worker->base, worker->http[kind], &limits);
	evhttp_set_gencb(worker->http[kind],
	    kind == LISTENER_PUBLIC ? public_request : internal_request, worker);
}

static void
worker_listen(struct worker *worker)
{
	const struct boot *boot = worker->boot;

	routes_init();
	for (size_t i = 0; i < boot->listener_count; i++) {
		enum boot_listener_kind kind = boot->listeners[i].kind;

		if (worker->framing[kind] == NULL)
			listener_open(worker, kind);
		worker->serves_public |= kind == LISTENER_PUBLIC;
	}
}

/* Found out later, it is as if PostgreSQL were away, and mends itself when somebody has migrated. */
static _Noreturn void
worker_refuse(const struct worker *worker)
{
	log_critical("[postgres] %s", pg_last_error(worker->pg));
	log_flush();
	_exit(BOOT_EXIT_OUTDATED);
}

/*
 * Requests that come at once should find both servers connected; but one that is away must not keep
 * the other's answers from being given.
 */
static void
worker_report_ready(struct worker *worker)
{
	int64_t deadline_ms = clock_monotonic_ms() + FIRST_CONNECT_MS;
	struct timeval pause = clock_timeval(20);

	while (!(pg_is_up(worker->pg) && valkey_is_up(worker->valkey)) &&
	       clock_monotonic_ms() < deadline_ms) {
		event_base_loopexit(worker->base, &pause);
		event_base_dispatch(worker->base);
		if (pg_is_outdated(worker->pg))
			worker_refuse(worker);
	}
	for (size_t i = 0; i < worker->boot->listener_count; i++)
		framing_listen(worker->framing[worker->boot->listeners[i].kind],
		    worker->boot->listeners[i].fd);
	channel_ready(worker->channel);
}

/* Once a second: says that we are there and heartbeats are heard here, and remembers that the servers were there. */
static void
second_passed(evutil_socket_t fd, short what, void *argument)
{
	struct worker *worker = argument;

	mirror_attend(worker->mirror);
	if (worker->serves_public && !worker->draining)
		mirror_listen(worker->mirror);
	event_waits_tick(worker->event_waits);
	worker->was_up |= pg_is_up(worker->pg) || valkey_is_up(worker->valkey);
}

static void
term_received(evutil_socket_t fd, short what, void *argument)
{
	struct worker *worker = argument;
	int64_t patience_ms = worker->config->shutdown_grace_seconds * INT64_C(1000) * 9 / 10;
	/* libevent's clock is the coarse one, some milliseconds behind ours. */
	struct timeval patience = clock_timeval(patience_ms + 20);

	worker->draining = true;
	worker->drain_until_ms = clock_monotonic_ms() + patience_ms;
	event_base_loopexit(worker->base, &patience); /* so that the loop looks again just then */
	for (int kind = 0; kind < LISTENER_KINDS; kind++)
		if (worker->framing[kind] != NULL)
			framing_drain(worker->framing[kind]);
	event_waits_drain(worker->event_waits);
	dashboard_stream_drain(worker->dashboard_stream);
}

static bool
is_idle(const struct worker *worker)
{
	size_t connections = 0;

	for (int kind = 0; kind < LISTENER_KINDS; kind++)
		if (worker->framing[kind] != NULL)
			connections += framing_connections(worker->framing[kind]);
	return connections == 0 && worker->requests_pending == 0 && worker->deliveries == NULL &&
	       valkey_pending(worker->valkey) == 0;
}

static bool
drained(const struct worker *worker)
{
	return worker->draining &&
	       (is_idle(worker) || clock_monotonic_ms() >= worker->drain_until_ms);
}

static void
worker_serve(struct worker *worker)
{
	struct event *term = evsignal_new(worker->base, SIGTERM, term_received, worker);
	struct event *tick = event_new(worker->base, -1, EV_PERSIST, second_passed, worker);
	struct timeval second = { .tv_sec = 1 };

	if (term == NULL || tick == NULL || event_add(term, NULL) != 0 ||
	    event_add(tick, &second) != 0)
		fatal("no timers");
	second_passed(-1, 0, worker);
	while (!drained(worker)) {
		if (event_base_loop(worker->base, EVLOOP_ONCE) != 0)
			fatal("the event loop failed");
		log_flush();
	}
	event_free(term);
	event_free(tick);
}

/* Whoever is not idle when the grace is nearly over is missed: what he was about to write is looked for. */
static void
worker_leave(struct worker *worker)
{
	if (!is_idle(worker))
		return;
	mirror_leave(worker->mirror);
	while (valkey_pending(worker->valkey) > 0 && clock_monotonic_ms() < worker->drain_until_ms)
		if (event_base_loop(worker->base, EVLOOP_ONCE) != 0)
			fatal("the event loop failed");
}

static bool
anybody_waits(const struct worker *worker)
{
	size_t busy = worker->requests_pending;

	for (int kind = 0; kind < LISTENER_KINDS; kind++)
		if (worker->framing[kind] != NULL)
			busy += framing_busy(worker->framing[kind]);
	return busy > 0;
}

/*
 * The grace is nearly over.  What a server or the hasher was asked has failed now; the chains that waited for
 * it go to their ends, while all of them still exist for them to ask, and the answers to the sockets.
 */
static void
worker_give_up(struct worker *worker)
{
	int64_t until_ms = clock_monotonic_ms() +
			   worker->config->shutdown_grace_seconds * INT64_C(1000) / 20;
	struct timeval pause = clock_timeval(20);

	hasher_close(worker->hasher);
	valkey_close(worker->valkey);
	pg_close(worker->pg);
	while (anybody_waits(worker) && clock_monotonic_ms() < until_ms) {
		event_base_loopexit(worker->base, &pause);
		event_base_dispatch(worker->base);
	}
}

static void
listener_close(struct worker *worker, int kind)
{
	framing_free(worker->framing[kind]);
	evhttp_free(worker->http[kind]);
}

/*
 * The channel goes first: its last tick asks gauges_set(), which looks at everything that ends below.  What is
 * still pending is answered 503 by the clients' ends, which call back everything they were asked, and heartbeats
 * that were still to be sent are asked now.  PostgreSQL's
 * goes last, for whoever loses Valkey or another service may still ask it.
 */
static void
worker_close(struct worker *worker)
{
	channel_free(worker->channel);
	valkey_subscriber_free(worker->subscriber);
	worker->subscriber = NULL; /* so who still waits for an event leaves without a word to it */
	http_client_free(worker->http_client);
	mirror_beats_send(worker->mirror);
	valkey_free(worker->valkey);
	pg_free(worker->pg);
	otp_deliveries_abandon(worker);
	hasher_free(worker->hasher);
	for (int kind = 0; kind < LISTENER_KINDS; kind++)
		if (worker->framing[kind] != NULL)
			listener_close(worker, kind);
	mirror_free(worker->mirror);
	app_config_free(worker->app_config);
	free(worker->flights);
	free(worker->beats);
	event_waits_free(worker->event_waits);
	dashboard_stream_free(worker->dashboard_stream);
	dashboard_free(worker->dashboard);
	token_keys_free(worker->token_keys);
	jwks_free(worker->google_keys);
	jwks_free(worker->apple_keys);
	proxies_free(worker->proxies);
	rate_limiter_free(worker->rate_limiter);
	if (worker->dns != NULL)
		evdns_base_free(worker->dns, 0);
	event_base_free(worker->base);
	log_flush();
}
