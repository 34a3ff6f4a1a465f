/*
 * metrics: GET /metrics, Prometheus text, for the whole instance.
 *
 * The master knows the sum of all children as of their last ticks, at most a second ago; who is online and
 * available is asked of the mirror.  If either does not answer, its metrics are left out rather than invented.
 * No ids, no paths with ids: a label's values are few and known beforehand.
 */
#include <stdio.h>
#include <string.h>

#include <event2/buffer.h>

#include "common/channel.h"
#include "common/log.h"
#include "common/series.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"
#include "server/statuses.h"
#include "server/version.h"

#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

static available_fn mitras_known;
static step_fn mitras_unknown;
static metrics_fn metrics_known;
static outcome metrics_reply(struct request *, const struct channel_metrics *);

outcome
metrics_get(struct request *r)
{
	return mirror_read_best(r, NULL, 0, mitras_known, mitras_unknown);
}

static outcome
mitras_known(struct request *r, const struct mirror_available *list, size_t count,
    const struct mirror_totals *totals)
{
	r->totals = *totals;
	r->totals_known = true;
	return master_ask_metrics(r, metrics_known);
}

static outcome
mitras_unknown(struct request *r)
{
	return master_ask_metrics(r, metrics_known);
}

static outcome
metrics_known(struct request *r, const struct channel_metrics *metrics)
{
	if (metrics == NULL)
		return reply_problem(r, PROBLEM_OVERLOADED, "The master did not answer in time.");
	return metrics_reply(r, metrics);
}

static void
head(struct evbuffer *out, const char *name, const char *type, const char *help)
{
	evbuffer_add_printf(
	    out, "# HELP mitrad_%s %s.\n# TYPE mitrad_%s %s\n", name, help, name, type);
}

static void
single(struct evbuffer *out, const char *name, const char *type, const char *help, uint64_t value)
{
	head(out, name, type, help);
	evbuffer_add_printf(out, "mitrad_%s %llu\n", name, (unsigned long long)value);
}

/* `labels` is "" or `route="/x",method="GET",`. */
static void
histogram(
    struct evbuffer *out, const char *name, const char *labels, const struct histogram *histogram)
{
	size_t length = strlen(labels);
	unsigned long long sum = 0;

	for (int i = 0; i <= SERIES_BOUNDS; i++) {
		sum += histogram->buckets[i];
		evbuffer_add_printf(out, "mitrad_%s_bucket{%sle=\"", name, labels);
		if (i < SERIES_BOUNDS)
			evbuffer_add_printf(
			    out, "%g\"} %llu\n", (double)series_bounds_us[i] / 1e6, sum);
		else
			evbuffer_add_printf(out, "+Inf\"} %llu\n", sum);
	}
	/* Behind the last label stands a comma, which only the buckets need. */
	const char *open = length > 0 ? "{" : "", *close = length > 0 ? "}" : "";
	int shown = length > 0 ? (int)length - 1 : 0;

	evbuffer_add_printf(out, "mitrad_%s_sum%s%.*s%s %.6f\n", name, open, shown, labels, close,
	    (double)histogram->sum_us / 1e6);
	evbuffer_add_printf(
	    out, "mitrad_%s_count%s%.*s%s %llu\n", name, open, shown, labels, close, sum);
}

static bool
has_any(const struct histogram *histogram)
{
	for (int i = 0; i <= SERIES_BOUNDS; i++)
		if (histogram->buckets[i] > 0)
			return true;
	return false;
}

static void
http_series(struct evbuffer *out, struct request *r, const struct series *all)
{
	head(out, "http_responses_total", "counter", "Answers by route and status");
	for (int route = 0; route < SERIES_ROUTES; route++)
		for (int i = 0; i < SERIES_STATUSES; i++)
			if (all->statuses[route][i] > 0)
				evbuffer_add_printf(out,
				    "mitrad_http_responses_total{%sstatus=\"%d\"} %llu\n",
				    route_labels(&r->arena, route), status_at(i),
				    (unsigned long long)all->statuses[route][i]);
	head(out, "http_request_duration_seconds", "histogram",
	    "From a request's dispatch to its answer");
	for (int route = 0; route < SERIES_ROUTES; route++)
		if (has_any(&all->routes[route]))
			histogram(out, "http_request_duration_seconds",
			    route_labels(&r->arena, route), &all->routes[route]);
	head(out, "postgres_latency_seconds", "histogram",
	    "From a statement's submission to its end");
	histogram(out, "postgres_latency_seconds", "", &all->postgres);
	head(out, "valkey_latency_seconds", "histogram", "From a batch's sending to its replies");
	histogram(out, "valkey_latency_seconds", "", &all->valkey);
}

static void
process_facts(struct evbuffer *out, const struct channel_metrics *m)
{
	head(out, "build_info", "gauge", "What runs");
	evbuffer_add_printf(out, "mitrad_build_info{version=\"%s\"} 1\n", MITRAD_VERSION);
	single(out, "uptime_seconds", "gauge", "Since the server's first start, reloads included",
	    m->uptime_seconds);
	single(out, "generation", "gauge", "Raised by each reload", m->generation);
	single(out, "process_restarts_total", "counter", "Children that died and were replaced",
	    m->restarts);
	single(out, "reloads_total", "counter", "Reloads that succeeded", m->reloads);
	single(out, "reload_failures_total", "counter", "Reloads that did not", m->reload_failures);
	head(out, "children", "gauge", "Children by state");
	evbuffer_add_printf(out,
	    "mitrad_children{state=\"wanted\"} %u\nmitrad_children{state=\"ready\"} %u\n"
	    "mitrad_children{state=\"backing_off\"} %u\nmitrad_children{state=\"draining\"} %u\n",
	    m->children, m->children_ready, m->children_backing_off, m->children_draining);
}

/* The passes of the sweeper that holds the lease; 0 means that it has not succeeded here yet. */
static void
sweeps(struct evbuffer *out, const struct gauges *g)
{
	const struct {
		const char *name;
		uint64_t success_timestamp_seconds, duration_milliseconds;
	} passes[] = {
		{ "auto_offline", g->auto_offline_success_timestamp_seconds,
		    g->auto_offline_duration_milliseconds },
		{ "heartbeats", g->heartbeat_mirror_success_timestamp_seconds,
		    g->heartbeat_mirror_duration_milliseconds },
		{ "reseed", g->reseed_success_timestamp_seconds, g->reseed_duration_milliseconds },
		{ "deadlines", g->deadlines_success_timestamp_seconds,
		    g->deadlines_duration_milliseconds },
	};

	head(out, "sweep_last_success_timestamp_seconds", "gauge",
	    "When a pass of the sweeper last succeeded");
	for (size_t i = 0; i < sizeof(passes) / sizeof(passes[0]); i++)
		evbuffer_add_printf(out,
		    "mitrad_sweep_last_success_timestamp_seconds{sweep=\"%s\"} %llu\n",
		    passes[i].name, (unsigned long long)passes[i].success_timestamp_seconds);
	head(out, "sweep_duration_seconds", "gauge", "How long it took then");
	for (size_t i = 0; i < sizeof(passes) / sizeof(passes[0]); i++)
		evbuffer_add_printf(out, "mitrad_sweep_duration_seconds{sweep=\"%s\"} %.3f\n",
		    passes[i].name, (double)passes[i].duration_milliseconds / 1000);
}

static outcome
metrics_reply(struct request *r, const struct channel_metrics *m)
{
	struct evbuffer *out = evbuffer_new();
	char *text;

	if (out == NULL)
		fatal("out of memory");
#define COUNTER(name, help) single(out, #name "_total", "counter", help, m->counters.name);
#include "common/counters.def"
#undef COUNTER
#define sum_GAUGE(name, help)    single(out, #name, "gauge", help, m->gauges.name);
#define latest_GAUGE(name, help) /* the sweeper's; see sweeps() */
#define GAUGE(kind, name, help)  kind##_GAUGE(name, help)
#include "common/gauges.def"
#undef GAUGE
#undef sum_GAUGE
#undef latest_GAUGE
	sweeps(out, &m->gauges);
	if (r->totals_known) {
		single(out, "online_mitras", "gauge", "Mitras who are online",
		    (uint64_t)r->totals.online);
		single(out, "available_mitras", "gauge", "Mitras who could take a chat now",
		    (uint64_t)r->totals.available);
		single(out, "deactivated_mitras", "gauge", "Mitras whose account is not active",
		    (uint64_t)r->totals.deactivated);
	}
	process_facts(out, m);
	http_series(out, r, &m->series);
	text = arena_strndup(
	    &r->arena, (const char *)evbuffer_pullup(out, -1), evbuffer_get_length(out));
	evbuffer_free(out);
	return reply_text(r, 200, CONTENT_TYPE, text);
}
