/* instance: what concerns all children of all generations; see instance.h. */
#include "server/master/instance.h"

#include <stdio.h>

#include "common/channel.h"
#include "common/clock.h"

static void answer_metrics(const struct instance *, const struct child *);
static void add_child(struct channel_metrics *, const struct child *);
static void add_counters(struct counters *sum, const struct counters *counted);

struct generations
instance_generations(const struct instance *instance)
{
	struct generation *all[] = { instance->starting, instance->running, instance->stopping };
	struct generations generations = { .count = 0 };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i])
			generations.all[generations.count++] = all[i];
	return generations;
}

void
instance_hear(struct instance *instance, struct child *child, int64_t now_ms)
{
	child_hear(child, now_ms);
#define sum_GAUGE(name)
#define latest_GAUGE(name)           \
	if (child->gauges.name != 0) \
		instance->latest.name = child->gauges.name;
#define GAUGE(kind, name, help) kind##_GAUGE(name)
#include "common/gauges.def"
#undef GAUGE
#undef sum_GAUGE
#undef latest_GAUGE
	if (child->asked_metrics)
		answer_metrics(instance, child);
	child->asked_metrics = false;
}

void
instance_retire(struct instance *instance, const struct child *child)
{
	add_counters(&instance->retired, &child->counters);
	series_add(&instance->retired_series, &child->series);
}

static void
answer_metrics(const struct instance *instance, const struct child *child)
{
	struct generations generations = instance_generations(instance);
	const struct generation *current = instance->running ? instance->running
							     : instance->starting;
	struct channel_packet packet = { 0 };
	struct channel_metrics *metrics = &packet.metrics;

	metrics->counters = instance->retired;
	metrics->gauges = instance->latest;
	metrics->series = instance->retired_series;
	for (size_t i = 0; i < generations.count; i++)
		for (size_t j = 0; j < generations.all[i]->count; j++)
			add_child(metrics, &generations.all[i]->children[j]);
	metrics->restarts = instance->restarts;
	metrics->reloads = instance->reloads;
	metrics->reload_failures = instance->reload_failures;
	metrics->uptime_seconds = (uint64_t)(clock_monotonic_ms() - instance->started_ms) / 1000;
	if (current)
		generation_count(current, metrics);
	if (instance->stopping)
		metrics->children_draining = (uint32_t)generation_living(instance->stopping);
	channel_write(child->channel, CHANNEL_METRICS, &packet);
}

static void
add_child(struct channel_metrics *metrics, const struct child *child)
{
	add_counters(&metrics->counters, &child->counters);
	series_add(&metrics->series, &child->series);
#define sum_GAUGE(name) metrics->gauges.name += child->gauges.name;
#define latest_GAUGE(name)
#define GAUGE(kind, name, help) kind##_GAUGE(name)
#include "common/gauges.def"
#undef GAUGE
#undef sum_GAUGE
#undef latest_GAUGE
}

static void
add_counters(struct counters *sum, const struct counters *counted)
{
#define COUNTER(name, help) sum->name += counted->name;
#include "common/counters.def"
#undef COUNTER
}

void
instance_describe(const struct instance *instance, char *text, size_t size)
{
	const struct generation *generation = instance->running;
	char addresses[160];

	listeners_describe(&generation->listeners, addresses, sizeof(addresses));
	snprintf(text, size, "%s%s%d worker%s, generation %d", addresses, addresses[0] ? ", " : "",
	    generation->workers, generation->workers == 1 ? "" : "s", generation->number);
}

void
instance_catch_up(const struct instance *instance)
{
	struct generations generations = instance_generations(instance);
	struct channel_packet packet;

	for (size_t i = 0; i < generations.count; i++)
		for (size_t j = 0; j < generations.all[i]->count; j++) {
			const struct child *child = &generations.all[i]->children[j];

			if (child->kind == CHILD_SWEEPER && child->channel >= 0)
				channel_write(child->channel, CHANNEL_CATCH_UP, &packet);
		}
}
