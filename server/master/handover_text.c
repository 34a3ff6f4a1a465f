/*
 * handover_text: lines of a keyword and its values, in a fixed order, with the settings of the running
 * generation in between:
 *
 *   mitrad-handover 1
 *   program 12                              descriptor, or -1
 *   instance 81234 3 1 0 2 0                started_ms, restarts, reloads, failures, number, HUP waits
 *   counter http_requests 123456            each by its name: the next program may have others
 *   latest reseed_duration_milliseconds 12  each gauge that is to outlive its child
 *   settings 1234                           so many bytes of config_save() follow, and a newline
 *   generation 2
 *   listener 5 0 0.0.0.0:3000               descriptor, kind, address
 *   child 1 0 4711 9 1 0 81300 0            kind, index, pid, channel, ready, short lives, started_ms,
 *                                           retry_ms
 *   end
 *
 * Who changes it, raises HANDOVER_VERSION.
 */
#include "server/master/handover_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/master/handover.h"
#include "server/master/instance.h"

#define LINE_SIZE ((size_t)256)

/*
 * Reads on line by line. After the first line that is not as expected, all others are found to be
 * wrong, too.
 */
struct reader {
	const char *rest;
	const char *end;
	bool failed;
};

static void write_settings(const struct config *, FILE *);
static bool next_is(const struct reader *, const char *keyword);
static void
take(struct reader *, int values, const char *format, ...) __attribute__((format(scanf, 3, 4)));
static void expect(struct reader *, bool);
static void take_head(struct reader *, struct instance *);
static void take_counter(struct reader *, struct counters *);
static void take_latest(struct reader *, struct gauges *);
static void take_settings(struct reader *, const struct instance *, struct config *);
static struct generation *take_generation(struct reader *, struct config *);
static void take_listener(struct reader *, struct listeners *);
static void take_child(struct reader *, struct generation *);
static struct child *find_place(struct generation *, int kind, int index);
static bool is_socket(int fd);
static bool is_our_child(int pid);

void
handover_text_write(const struct instance *instance, int previous_program, FILE *out)
{
	const struct generation *generation = instance->running;

	fprintf(out, "mitrad-handover %d\n", HANDOVER_VERSION);
	fprintf(out, "program %d\n", previous_program);
	fprintf(out, "instance %" PRId64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %d %d\n",
	    instance->started_ms, instance->restarts, instance->reloads, instance->reload_failures,
	    instance->last_number, instance->reload.wanted);
#define COUNTER(name, help) fprintf(out, "counter %s %" PRIu64 "\n", #name, instance->retired.name);
#include "common/counters.def"
#undef COUNTER
#define sum_GAUGE(name)
#define latest_GAUGE(name)      fprintf(out, "latest %s %" PRIu64 "\n", #name, instance->latest.name);
#define GAUGE(kind, name, help) kind##_GAUGE(name)
#include "common/gauges.def"
#undef GAUGE
#undef sum_GAUGE
#undef latest_GAUGE
	write_settings(&generation->config, out);
	fprintf(out, "generation %d\n", generation->number);
	for (size_t i = 0; i < generation->listeners.count; i++) {
		const struct listener *listener = &generation->listeners.all[i];

		fprintf(out, "listener %d %d %s\n", listener->fd, (int)listener->kind,
		    listener->address);
	}
	for (size_t i = 0; i < generation->count; i++) {
		const struct child *child = &generation->children[i];

		fprintf(out, "child %d %d %d %d %d %d %" PRId64 " %" PRId64 "\n", (int)child->kind,
		    child->index, (int)child->pid, child->channel, child->ready, child->short_lives,
		    child->started_ms, child->retry_ms);
	}
	fputs("end\n", out);
}

static void
write_settings(const struct config *config, FILE *out)
{
	char *bytes = NULL;
	size_t length = 0;
	FILE *memory = open_memstream(&bytes, &length);

	if (!memory)
		fatal("out of memory");
	config_save(config, memory);
	if (fclose(memory) != 0)
		fatal("out of memory");
	fprintf(out, "settings %zu\n", length);
	fwrite(bytes, 1, length, out);
	fputc('\n', out);
	explicit_bzero(bytes, length);
	free(bytes);
}

int
handover_text_program(const char *text)
{
	int version, program = -1;

	(void)sscanf(text, "mitrad-handover %d program %d", &version, &program);
	return program;
}

bool
handover_text_read(struct instance *instance, const char *text, size_t length)
{
	struct reader reader = { .rest = text, .end = text + length };
	struct instance read = *instance;
	struct config config = { 0 };

	take_head(&reader, &read);
	while (next_is(&reader, "counter "))
		take_counter(&reader, &read.retired);
	while (next_is(&reader, "latest "))
		take_latest(&reader, &read.latest);
	take_settings(&reader, &read, &config);
	read.running = take_generation(&reader, &config);
	expect(&reader, next_is(&reader, "end"));
	if (!reader.failed) {
		*instance = read;
		return true;
	}
	/* Its sockets are not ours yet, so they are not closed. */
	free(read.running->listeners.all);
	read.running->listeners = (struct listeners){ 0 };
	generation_free(read.running);
	return false;
}

static void
take_head(struct reader *reader, struct instance *instance)
{
	int version = 0, program, wanted = 0;

	take(reader, 1, "mitrad-handover %d", &version);
	expect(reader, version == HANDOVER_VERSION);
	take(reader, 1, "program %d", &program);
	take(reader, 6, "instance %" SCNd64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %d %d",
	    &instance->started_ms, &instance->restarts, &instance->reloads,
	    &instance->reload_failures, &instance->last_number, &wanted);
	instance->reload.wanted = wanted != 0;
}

static void
take_counter(struct reader *reader, struct counters *sum)
{
	char name[64] = "";
	uint64_t value = 0;

	take(reader, 2, "counter %63s %" SCNu64, name, &value);
#define COUNTER(field, help)           \
	if (strcmp(name, #field) == 0) \
		sum->field = value;
#include "common/counters.def"
#undef COUNTER
}

static void
take_latest(struct reader *reader, struct gauges *latest)
{
	char name[64] = "";
	uint64_t value = 0;

	take(reader, 2, "latest %63s %" SCNu64, name, &value);
#define GAUGE(kind, field, help)       \
	if (strcmp(name, #field) == 0) \
		latest->field = value;
#include "common/gauges.def"
#undef GAUGE
}

static void
take_settings(struct reader *reader, const struct instance *instance, struct config *config)
{
	size_t length = 0;

	take(reader, 1, "settings %zu", &length);
	expect(reader, length < (size_t)(reader->end - reader->rest));
	if (reader->failed)
		return;
	expect(reader,
	    reader->rest[length] == '\n' && (length == 0 || reader->rest[length - 1] == '\0'));
	if (!reader->failed)
		expect(reader,
		    config_restore(config, instance->file, instance->role, reader->rest, length));
	reader->rest += length + 1;
}

/* Never NULL, but perhaps incomplete, and then the reader has failed. */
static struct generation *
take_generation(struct reader *reader, struct config *config)
{
	struct listeners listeners = { 0 };
	struct generation *generation;
	int number = 0;

	take(reader, 1, "generation %d", &number);
	while (next_is(reader, "listener "))
		take_listener(reader, &listeners);
	generation = generation_new(number, config, &listeners);
	while (next_is(reader, "child "))
		take_child(reader, generation);
	generation->listening = true;
	generation->state = GENERATION_RUNNING;
	return generation;
}

static void
take_listener(struct reader *reader, struct listeners *listeners)
{
	struct listener listener = { .fd = -1 };
	int kind = -1;

	take(reader, 3, "listener %d %d %63s", &listener.fd, &kind, listener.address);
	expect(reader, kind == LISTENER_PUBLIC || kind == LISTENER_INTERNAL);
	expect(reader, is_socket(listener.fd));
	listener.kind = (enum boot_listener_kind)kind;
	if (!reader->failed)
		listeners_add(listeners, &listener);
}

/* A child that hung when it was handed over, gets its ten seconds again. */
static void
take_child(struct reader *reader, struct generation *generation)
{
	struct child child = { 0 };
	struct child *place;
	int kind = -1, pid = -1, ready = 0;

	take(reader, 8, "child %d %d %d %d %d %d %" SCNd64 " %" SCNd64, &kind, &child.index, &pid,
	    &child.channel, &ready, &child.short_lives, &child.started_ms, &child.retry_ms);
	place = find_place(generation, kind, child.index);
	expect(reader, place != NULL);
	expect(reader, pid == 0 || is_our_child(pid));
	expect(reader, child.channel == -1 || is_socket(child.channel));
	if (reader->failed)
		return;
	child.kind = place->kind;
	child.pid = pid;
	child.ready = ready != 0;
	child.ticked_ms = clock_monotonic_ms();
	*place = child;
}

/* A place that is still empty. */
static struct child *
find_place(struct generation *generation, int kind, int index)
{
	for (size_t i = 0; i < generation->count; i++) {
		struct child *child = &generation->children[i];

		if ((int)child->kind == kind && child->index == index && child->pid == 0)
			return child;
	}
	return NULL;
}

static bool
next_is(const struct reader *reader, const char *keyword)
{
	size_t length = strlen(keyword);

	return !reader->failed && (size_t)(reader->end - reader->rest) >= length &&
	       memcmp(reader->rest, keyword, length) == 0;
}

/* The next line, all of its values. */
static void
take(struct reader *reader, int values, const char *format, ...)
{
	size_t room = (size_t)(reader->end - reader->rest);
	const char *newline = reader->failed ? NULL : memchr(reader->rest, '\n', room);
	char line[LINE_SIZE];
	va_list arguments;

	expect(reader, newline && (size_t)(newline - reader->rest) < sizeof(line));
	if (reader->failed)
		return;
	memcpy(line, reader->rest, (size_t)(newline - reader->rest));
	line[newline - reader->rest] = '\0';
	reader->rest = newline + 1;
	va_start(arguments, format);
	expect(reader, vsscanf(line, format, arguments) == values);
	va_end(arguments);
}

static void
expect(struct reader *reader, bool right)
{
	reader->failed |= !right;
}

static bool
is_socket(int fd)
{
	struct stat status;

	return fd > 2 && fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

/* One that has ended and waits to be buried, too. */
static bool
is_our_child(int pid)
{
	siginfo_t info;

	return pid > 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}
