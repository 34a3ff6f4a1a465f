/* What handover_text.h promises: what one program writes the next one reads, and nothing that is not as it says. */
#include "test/unit/unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/boot.h"
#include "schema/migrate.h"
#include "server/master/handover_text.h"
#include "server/master/instance.h"

/* Children are made here, never started. */
const char *
schema_stamp(void)
{
	return "";
}

int
worker_main(const struct boot *boot)
{
	return 1;
}

int
sweeper_main(const struct boot *boot)
{
	return 1;
}

/* A generation that runs, with a process behind its first worker. */
struct scene {
	struct instance instance;
	pid_t pid;
	int sockets[2];
	char *text;
	size_t length;
};

static pid_t
sleeping_child(void)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	for (;;)
		pause();
}

static void
fill(struct scene *scene)
{
	struct instance *instance = &scene->instance;
	struct config config;
	struct listeners listeners = { 0 };
	struct listener listener = { scene->sockets[0], LISTENER_INTERNAL, "[::1]:3001" };
	struct child *worker;

	CHECK_NUMBER(config_load(&config, NULL, ROLE_ALL, stderr), 0);
	listeners_add(&listeners, &listener);
	instance->started_ms = 12345678901234;
	instance->restarts = 3;
	instance->reloads = 2;
	instance->reload_failures = 1;
	instance->last_number = 7;
	instance->reload.wanted = true;
	instance->retired.http_requests = UINT64_MAX;
	instance->latest.reseed_duration_milliseconds = 12;
	instance->running = generation_new(6, &config, &listeners);
	worker = &instance->running->children[1];
	worker->pid = scene->pid;
	worker->channel = scene->sockets[1];
	worker->ready = true;
	worker->short_lives = 2;
	worker->started_ms = 42;
}

static void
set_up(struct scene *scene)
{
	FILE *out = open_memstream(&scene->text, &scene->length);

	setenv("DATABASE_URL", "postgresql:///none", 1);
	setenv("AUTH_JWT_SECRET", "a secret\nof two lines, with = and \\0 in it", 1);
	setenv("WORKERS", "2", 1);
	scene->instance = (struct instance){ 0 };
	scene->pid = sleeping_child();
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, scene->sockets) == 0);
	fill(scene);
	handover_text_write(&scene->instance, 9, out);
	fclose(out);
}

static void
tear_down(struct scene *scene)
{
	generation_free(scene->instance.running);
	close(scene->sockets[1]);
	kill(scene->pid, SIGKILL);
	waitpid(scene->pid, NULL, 0);
	free(scene->text);
}

/* Into an instance that begins empty, from memory that ends where the text ends. */
static bool
read_back(const char *text, size_t length, struct instance *instance)
{
	char *copy = malloc(length + 1);
	bool read;

	memcpy(copy, text, length);
	copy[length] = '\0';
	*instance = (struct instance){ .last_number = -1 };
	read = handover_text_read(instance, copy, length);
	free(copy);
	return read;
}

/* The sockets stay open: they are the scene's. */
static void
forget(struct instance *instance)
{
	instance->running->listeners.count = 0;
	generation_free(instance->running);
}

TEST("everything that was written is read")
{
	struct scene scene;
	struct instance read;

	set_up(&scene);
	CHECK_NUMBER(handover_text_program(scene.text), 9);
	if (CHECK(read_back(scene.text, scene.length, &read))) {
		const struct generation *generation = read.running;
		const struct child *worker = &generation->children[1];

		CHECK_NUMBER(read.started_ms, 12345678901234);
		CHECK_NUMBER((int64_t)read.restarts, 3);
		CHECK_NUMBER((int64_t)read.reloads, 2);
		CHECK_NUMBER((int64_t)read.reload_failures, 1);
		CHECK_NUMBER(read.last_number, 7);
		CHECK(read.reload.wanted);
		CHECK(read.retired.http_requests == UINT64_MAX);
		CHECK_NUMBER((int64_t)read.latest.reseed_duration_milliseconds, 12);
		CHECK(generation->state == GENERATION_RUNNING && generation->listening);
		CHECK_NUMBER(generation->number, 6);
		CHECK_TEXT(generation->config.auth_jwt_secret,
		    scene.instance.running->config.auth_jwt_secret);
		CHECK_NUMBER(generation->config.workers, 2);
		CHECK_NUMBER((int64_t)generation->listeners.count, 1);
		CHECK_TEXT(generation->listeners.all[0].address, "[::1]:3001");
		CHECK(generation->listeners.all[0].kind == LISTENER_INTERNAL);
		CHECK_NUMBER((int64_t)generation->count, 3);
		CHECK_NUMBER(worker->pid, scene.pid);
		CHECK_NUMBER(worker->channel, scene.sockets[1]);
		CHECK_NUMBER(worker->short_lives, 2);
		CHECK_NUMBER(worker->started_ms, 42);
		CHECK(worker->ready);
		CHECK_NUMBER(generation->children[2].pid, 0);
		forget(&read);
	}
	tear_down(&scene);
}

TEST("a text that is cut anywhere is refused, and the instance stays as it was")
{
	struct scene scene;
	struct instance read;

	set_up(&scene);
	for (size_t length = 0; length < scene.length - 1; length++) {
		unit_about("%zu of %zu bytes", length, scene.length);
		if (read_back(scene.text, length, &read)) {
			/* Only the newline of the last line may be missing. */
			CHECK(length >= scene.length - 1);
			forget(&read);
		}
		CHECK_NUMBER(read.last_number, -1);
		CHECK(read.running == NULL);
	}
	unit_about("%s", "");
	tear_down(&scene);
}

/* The scene's text with one line replaced by another. */
static bool
read_with(const struct scene *scene, const char *keyword, const char *line)
{
	char *at = memmem(scene->text, scene->length, keyword, strlen(keyword));
	char *end = memchr(at, '\n', scene->length - (size_t)(at - scene->text));
	size_t before = (size_t)(at - scene->text);
	size_t behind = scene->length - (size_t)(end - scene->text);
	char *text = malloc(before + strlen(line) + behind);
	struct instance read;
	bool is_read;

	memcpy(text, scene->text, before);
	memcpy(text + before, line, strlen(line));
	memcpy(text + before + strlen(line), end, behind);
	is_read = read_back(text, before + strlen(line) + behind, &read);
	if (is_read)
		forget(&read);
	free(text);
	return is_read;
}

TEST("a line that is not as it says is refused")
{
	static const struct {
		const char *keyword, *line;
	} rows[] = {
		{ "mitrad-handover", "mitrad-handover 2" },
		{ "mitrad-handover", "mitrad-handover" },
		{ "program", "programme 9" },
		{ "instance", "instance 1 2 3" },
		{ "counter", "counter http_requests many" },
		{ "settings", "settings 99999999999" },
		{ "settings", "settings 1" },
		{ "settings", "settings -1" },
		{ "generation", "generation six" },
		{ "listener", "listener 0 0 0.0.0.0:3000" },   /* a standard stream */
		{ "listener", "listener 999 0 0.0.0.0:3000" }, /* not open */
		{ "listener", "listener 5 9 0.0.0.0:3000" },   /* no such kind */
		{ "child 1 0", "child 1 0 1 -1 1 0 0 0" },     /* not our child */
		{ "child 1 0", "child 1 0 -5 -1 1 0 0 0" },
		{ "child 1 0", "child 1 7 0 -1 1 0 0 0" }, /* no such place */
		{ "child 1 0", "child 3 0 0 -1 1 0 0 0" },
		{ "child 1 0", "child 1 0 0 999 1 0 0 0" },
		{ "end", "" },
		{ "end", "child 0 0 0 -1 0 0 0 x" },
	};
	struct scene scene;

	set_up(&scene);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unit_about("%s", rows[i].line);
		CHECK(!read_with(&scene, rows[i].keyword, rows[i].line));
	}
	unit_about("%s", "");
	tear_down(&scene);
}

TEST("a counter that this program does not know is skipped")
{
	struct scene scene;

	set_up(&scene);
	CHECK(read_with(&scene, "counter http_requests", "counter of_another_version 12"));
	tear_down(&scene);
}
