/*
 * generation: starting in order, keeping full, stopping in time. See generation.h for the life of one.
 */
#include "server/master/generation.h"

#include <errno.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "common/boot.h"
#include "common/log.h"

#define SHORT_LIVES_MOST 5 /* in a row, at the start: it will not work */

static void advance_starting(struct generation *, int64_t now_ms);
static void start_due(struct generation *, int64_t now_ms);
static bool may_start(const struct generation *, const struct child *);
static bool are_ready(const struct generation *, bool workers_too);
static void
judge(struct generation *, const struct child *, bool was_ready, int status, const char *how);
static void describe_end(int status, char *text, size_t size);
static void fail(struct generation *, int failure, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct generation *
generation_new(int number, struct config *config, struct listeners *listeners)
{
	struct generation *generation = calloc(1, sizeof(*generation));
	size_t sweepers = config->role == ROLE_ALL || config->role == ROLE_SWEEPER;

	if (!generation)
		fatal("out of memory");
	generation->number = number;
	generation->workers = listeners_workers(config);
	generation->config = *config;
	generation->listeners = *listeners;
	generation->count = sweepers + (size_t)generation->workers;
	generation->children = calloc(generation->count, sizeof(*generation->children));
	if (!generation->children)
		fatal("out of memory");
	for (size_t i = 0; i < generation->count; i++) {
		generation->children[i].channel = -1;
		generation->children[i].kind = i < sweepers ? CHILD_SWEEPER : CHILD_WORKER;
		generation->children[i].index = i < sweepers ? 0 : (int)(i - sweepers);
	}
	*config = (struct config){ 0 };
	*listeners = (struct listeners){ 0 };
	return generation;
}

void
generation_free(struct generation *generation)
{
	listeners_close(&generation->listeners, NULL);
	config_free(&generation->config);
	free(generation->children);
	free(generation);
}

void
generation_advance(struct generation *generation, int64_t now_ms)
{
	if (generation->state == GENERATION_STARTING)
		advance_starting(generation, now_ms);
	if (generation->state != GENERATION_STOPPING)
		start_due(generation, now_ms);
	for (size_t i = 0; i < generation->count; i++)
		child_watch(&generation->children[i], now_ms);
	if (generation->state == GENERATION_STOPPING && now_ms >= generation->kill_at_ms)
		generation_kill(generation);
}

static void
advance_starting(struct generation *generation, int64_t now_ms)
{
	if (!generation->listening && are_ready(generation, false)) {
		if (!listeners_listen(&generation->listeners)) {
			fail(generation, 1, "listen: %s", strerror(errno));
			return;
		}
		generation->listening = true;
	}
	if (generation->listening && are_ready(generation, true))
		generation->state = GENERATION_RUNNING;
}

static bool
are_ready(const struct generation *generation, bool workers_too)
{
	for (size_t i = 0; i < generation->count; i++) {
		const struct child *child = &generation->children[i];

		if (!child->ready && (workers_too || child->kind == CHILD_SWEEPER))
			return false;
	}
	return true;
}

static void
start_due(struct generation *generation, int64_t now_ms)
{
	for (size_t i = 0; i < generation->count; i++) {
		struct child *child = &generation->children[i];

		if (may_start(generation, child) && now_ms >= child->retry_ms)
			child_start(child, generation, now_ms);
	}
}

static bool
may_start(const struct generation *generation, const struct child *child)
{
	if (child->pid > 0 || generation->failure || generation->state == GENERATION_STOPPING)
		return false;
	return child->kind == CHILD_SWEEPER || generation->listening;
}

int64_t
generation_due_ms(const struct generation *generation)
{
	int64_t due_ms = INT64_MAX;

	if (generation->state == GENERATION_STOPPING)
		due_ms = generation_living(generation) ? generation->kill_at_ms : 0;
	for (size_t i = 0; i < generation->count; i++) {
		const struct child *child = &generation->children[i];

		if ((child->pid > 0 || may_start(generation, child)) &&
		    child_due_ms(child) < due_ms)
			due_ms = child_due_ms(child);
	}
	return due_ms;
}

struct child *
generation_find(struct generation *generation, pid_t pid)
{
	for (size_t i = 0; i < generation->count; i++)
		if (generation->children[i].pid == pid)
			return &generation->children[i];
	return NULL;
}

void
generation_child_ended(
    struct generation *generation, struct child *child, int status, int64_t now_ms)
{
	bool unasked = generation->state != GENERATION_STOPPING;
	bool was_ready = child->ready;
	pid_t pid = child->pid;
	char name[CHILD_NAME_SIZE], how[64];

	child_name(child, name);
	describe_end(status, how, sizeof(how));
	if (unasked)
		log_event(SEVERITY_ERROR, LOG_FIELDS(LOG_NUMBER("generation", generation->number)),
		    "%s (pid %d) %s after %lld s", name, (int)pid, how,
		    (long long)(now_ms - child->started_ms) / 1000);
	else
		log_debug("%s (pid %d) %s", name, (int)pid, how);
	child_ended(child, unasked, now_ms);
	if (unasked && !generation->failure)
		judge(generation, child, was_ready, status, how);
}

/* Which ends no respawn would mend. */
static void
judge(struct generation *generation, const struct child *child, bool was_ready, int status,
    const char *how)
{
	bool starting = generation->state == GENERATION_STARTING && !was_ready;
	char name[CHILD_NAME_SIZE];

	child_name(child, name);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		fail(generation, 2, "%s found a fault in the configuration", name);
	else if (starting && WIFEXITED(status) && WEXITSTATUS(status) == BOOT_EXIT_OUTDATED)
		fail(generation, 1,
		    "%s cannot work with the database as it is: run `mitrad migrate`", name);
	else if (starting && child->kind == CHILD_SWEEPER && WIFEXITED(status))
		fail(generation, 1, "the sweeper %s before it was ready", how);
	else if (starting && child->short_lives >= SHORT_LIVES_MOST)
		fail(generation, 1, "%s ended %d times before it was ready; it %s at last", name,
		    child->short_lives, how);
}

static void
describe_end(int status, char *text, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "was ended by signal %d (%s)", WTERMSIG(status),
		    sigabbrev_np(WTERMSIG(status)));
	else
		snprintf(text, size, "exited with %d", WEXITSTATUS(status));
}

static void
fail(struct generation *generation, int failure, const char *format, ...)
{
	va_list arguments;

	generation->failure = failure;
	va_start(arguments, format);
	vsnprintf(generation->reason, sizeof(generation->reason), format, arguments);
	va_end(arguments);
}

void
generation_stop(struct generation *generation, const struct listeners *kept, int64_t now_ms)
{
	if (generation->state == GENERATION_STOPPING)
		return;
	generation->state = GENERATION_STOPPING;
	generation->kill_at_ms = now_ms + (int64_t)generation->config.shutdown_grace_seconds * 1000;
	/* Before they hear of it: the last to close a socket must be who accepts from it. */
	listeners_close(&generation->listeners, kept);
	for (size_t i = 0; i < generation->count; i++)
		child_signal(&generation->children[i], SIGTERM);
}

void
generation_kill(struct generation *generation)
{
	generation->state = GENERATION_STOPPING;
	generation->kill_at_ms = INT64_MAX;
	for (size_t i = 0; i < generation->count; i++)
		child_signal(&generation->children[i], SIGKILL);
}

size_t
generation_living(const struct generation *generation)
{
	size_t living = 0;

	for (size_t i = 0; i < generation->count; i++)
		living += generation->children[i].pid > 0;
	return living;
}

void
generation_count(const struct generation *generation, struct channel_metrics *metrics)
{
	metrics->generation = (uint32_t)generation->number;
	metrics->children = (uint32_t)generation->count;
	for (size_t i = 0; i < generation->count; i++) {
		metrics->children_ready += generation->children[i].ready;
		metrics->children_backing_off += child_is_backing_off(&generation->children[i]);
	}
}

void
generation_log(const struct generation *generation, int64_t now_ms)
{
	for (size_t i = 0; i < generation->count; i++) {
		const struct child *child = &generation->children[i];
		char name[CHILD_NAME_SIZE];

		child_name(child, name);
		if (child->pid <= 0) {
			log_info("%s of generation %d is down, ended early %d times in a row", name,
			    generation->number, child->short_lives);
			continue;
		}
		log_info("%s of generation %d, pid %d, %s for %lld s, ticked %lld ms ago%s%s", name,
		    generation->number, (int)child->pid,
		    generation->state == GENERATION_STOPPING ? "draining"
		    : child->ready                           ? "up"
							     : "starting",
		    (long long)(now_ms - child->started_ms) / 1000,
		    (long long)(now_ms - child->ticked_ms), child->status[0] ? ": " : "",
		    child->status);
	}
}
