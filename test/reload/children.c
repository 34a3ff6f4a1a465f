/*
 * children: workers and a sweeper that do as they are told, under the real master and command line.
 *
 * CHILDREN names a file of lines "NAME BEHAVIOUR", read by each child at its start: "worker-0 exit 2".  Who is not in it gets
 * ready, ticks, and ends at TERM.  The behaviours:
 *
 *   exit N      exits before it is ready          crash        is ended by a signal before it is ready
 *   later N     gets ready, and exits after 0.3 s silent       never gets ready
 *   busy        gets ready, and then hangs        deaf         ignores TERM
 *   metrics     gets ready, and writes what the master knows to stderr, again and again
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/boot.h"
#include "common/channel.h"
#include "common/clock.h"
#include "common/log.h"
#include "schema/migrate.h"
#include "server/doctor/doctor.h"
#include "server/routes.h"
#include "server/sign_in/token.h"

struct child {
	struct event_base *base;
	struct channel *channel;
	char behaviour[16];
	int number;
};

static void serve(struct child *);

/* What main.c needs of the worker, and commands that are not tried here. */
const char routes_names[] = "";

int
migrate_command(const struct config *config)
{
	return 1;
}

const char *
schema_stamp(void)
{
	return "";
}

int
mirror_command(const struct config *config, const char *verb)
{
	return 1;
}

int
token_command(const struct config *config, int count, char *const *arguments)
{
	return 1;
}

int
doctor_command(const struct config *config)
{
	return 1;
}

static void
read_behaviour(struct child *child, const char *name)
{
	FILE *file = fopen(getenv("CHILDREN"), "r");
	char line[128], who[32], behaviour[16];

	while (file && fgets(line, sizeof(line), file)) {
		int number = 0;

		if (sscanf(line, "%31s %15s %d", who, behaviour, &number) < 2 ||
		    strcmp(who, name) != 0)
			continue;
		memcpy(child->behaviour, behaviour, sizeof(behaviour));
		child->number = number;
	}
	if (file)
		fclose(file);
}

static bool
is(const struct child *child, const char *behaviour)
{
	return strcmp(child->behaviour, behaviour) == 0;
}

static void
term_came(evutil_socket_t number, short what, void *argument)
{
	struct child *child = argument;

	if (!is(child, "deaf"))
		event_base_loopexit(child->base, NULL);
}

static void
metrics_came(void *argument, const struct channel_metrics *metrics)
{
	if (!metrics)
		return;
	fprintf(stderr, "metrics %llu %u %u %u %u %llu %llu %llu\n",
	    (unsigned long long)metrics->counters.http_requests, metrics->generation,
	    metrics->children, metrics->children_ready, metrics->children_backing_off,
	    (unsigned long long)metrics->restarts, (unsigned long long)metrics->reloads,
	    (unsigned long long)metrics->reload_failures);
}

static void
ask_metrics(evutil_socket_t fd, short what, void *argument)
{
	struct child *child = argument;

	channel_ask_metrics(child->channel, metrics_came, NULL);
}

static void
catch_up(void *argument)
{
	fputs("catch up\n", stderr);
}

static int
live(const struct boot *boot, const char *name)
{
	struct child child = { 0 };

	read_behaviour(&child, name);
	if (is(&child, "exit"))
		return child.number;
	if (is(&child, "crash"))
		kill(getpid(), SIGKILL);
	counters.http_requests = (uint64_t)boot->index + 1;
	child.base = event_base_new();
	child.channel = channel_new(child.base, boot->channel);
	channel_on_catch_up(child.channel, catch_up, NULL);
	channel_status(child.channel, "counts to %d", boot->index + 1);
	if (!is(&child, "silent"))
		channel_ready(child.channel);
	while (is(&child, "busy"))
		pause();
	serve(&child);
	channel_free(child.channel);
	event_base_free(child.base);
	log_flush();
	return is(&child, "later") ? child.number : 0;
}

static void
serve(struct child *child)
{
	struct event *term = evsignal_new(child->base, SIGTERM, term_came, child);
	struct event *asking = event_new(child->base, -1, EV_PERSIST, ask_metrics, child);
	struct timeval pause_between = clock_timeval(200), life = clock_timeval(300);

	evsignal_add(term, NULL);
	if (is(child, "metrics"))
		event_add(asking, &pause_between);
	if (is(child, "later"))
		event_base_loopexit(child->base, &life);
	event_base_dispatch(child->base);
	event_free(term);
	event_free(asking);
}

int
worker_main(const struct boot *boot)
{
	char name[32];

	snprintf(name, sizeof(name), "worker-%d", boot->index);
	return live(boot, name);
}

int
sweeper_main(const struct boot *boot)
{
	return live(boot, "sweeper");
}
