/*
 * master: the loop.
 *
 * Signal handlers set flags and nothing else; they are unblocked only while the loop waits, so none is
 * missed.  Each turn hears what the children say, buries those that ended, obeys the signals, and lets
 * each generation do what is due.
 */
#include "server/master/master.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/master/handover.h"
#include "server/master/instance.h"
#include "server/master/notify.h"
#include "server/master/title.h"

#define WAIT_MOST_MS 60000

static volatile sig_atomic_t child_has_ended, terms, interrupts, must_quit, must_reload, must_log;

static void prepare_process(void);
static void catch_signals(sigset_t *unblocked);
static void note_signal(int signal);
static int start_first(struct instance *);
static int take_over(struct instance *, enum handover);
static bool turn(struct instance *);
static void wait_for_something(const struct instance *, const sigset_t *unblocked);
static struct timespec patience(const struct instance *);
static void hear(struct instance *);
static void bury(struct instance *);
static void bury_child(struct instance *, struct generation *, struct child *, int status);
static void obey_signals(struct instance *);
static void log_status(const struct instance *);
static void end(struct instance *, int exit_status);
static void kill_all(struct instance *);
static void advance(struct instance *);
static void judge(struct instance *);
static void started(struct instance *);

int
master_run(struct instance *instance)
{
	enum handover direction = handover_receive();
	sigset_t unblocked;
	int status;

	catch_signals(&unblocked);
	prepare_process();
	reload_init(&instance->reload);
	status = direction == HANDOVER_NONE ? start_first(instance)
					    : take_over(instance, direction);
	if (status != 0)
		return status;
	while (turn(instance))
		wait_for_something(instance, &unblocked);
	log_info("mitrad has stopped");
	log_flush();
	return instance->exit_status;
}

static void
prepare_process(void)
{
	struct rlimit descriptors;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	title_set("mitrad: master");
	log_set_process("master");
	notify_init();
	umask(077);
	if (null >= 0)
		dup2(null, STDIN_FILENO);
	if (null > STDERR_FILENO)
		close(null);
	if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
		descriptors.rlim_cur = descriptors.rlim_max;
		setrlimit(RLIMIT_NOFILE, &descriptors);
	}
}

static void
catch_signals(sigset_t *unblocked)
{
	static const int caught[] = { SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1 };
	struct sigaction action = { .sa_handler = note_signal };
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigemptyset(unblocked);
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		sigaction(caught[i], &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void
note_signal(int signal)
{
	if (signal == SIGCHLD)
		child_has_ended = 1;
	if (signal == SIGTERM)
		terms++;
	if (signal == SIGINT)
		interrupts++;
	if (signal == SIGQUIT)
		must_quit = 1;
	if (signal == SIGHUP)
		must_reload = 1;
	if (signal == SIGUSR1)
		must_log = 1;
}

/* 0, or with what to exit. */
static int
start_first(struct instance *instance)
{
	struct config config;
	struct listeners listeners;
	char fault[160];
	int status = 2;

	instance->started_ms = clock_monotonic_ms();
	if (config_load(&config, instance->file, instance->role, stderr) == 0) {
		status = 1;
		log_init(config.log_level, config.log_format);
		if (listeners_open(&listeners, &config, NULL, fault, sizeof(fault))) {
			instance->starting = generation_new(
			    ++instance->last_number, &config, &listeners);
			return 0;
		}
		log_critical("%s", fault);
	}
	config_free(&config);
	return status;
}

static int
take_over(struct instance *instance, enum handover direction)
{
	if (!handover_adopt(instance, direction))
		return 1;
	log_init(instance->running->config.log_level, instance->running->config.log_format);
	child_has_ended = 1; /* perhaps, while nobody waited */
	if (direction == HANDOVER_FORWARD)
		reload_try(instance, clock_monotonic_ms());
	else
		reload_returned(instance);
	return 0;
}

/* False: all is over. */
static bool
turn(struct instance *instance)
{
	hear(instance);
	bury(instance);
	obey_signals(instance);
	advance(instance);
	judge(instance);
	reload_advance(instance, clock_monotonic_ms());
	log_flush();
	return !instance->ending || instance_generations(instance).count > 0;
}

/* Until a child speaks, a signal comes or something is due. */
static void
wait_for_something(const struct instance *instance, const sigset_t *unblocked)
{
	struct generations generations = instance_generations(instance);
	struct timespec timeout = patience(instance);
	struct pollfd *polled;
	nfds_t count = 1;

	for (size_t i = 0; i < generations.count; i++)
		count += generations.all[i]->count;
	polled = calloc(count, sizeof(*polled));
	if (!polled)
		fatal("out of memory");
	polled[0] = (struct pollfd){ .fd = instance->reload.output, .events = POLLIN };
	count = 1;
	for (size_t i = 0; i < generations.count; i++)
		for (size_t j = 0; j < generations.all[i]->count; j++)
			polled[count++] = (struct pollfd){
				.fd = generations.all[i]->children[j].channel,
				.events = POLLIN,
			};
	/*
	 * Who is interrupted or out of luck looks at everything, as always. poll() skips negative
	 * descriptors.
	 */
	(void)ppoll(polled, count, &timeout, unblocked);
	free(polled);
}

static struct timespec
patience(const struct instance *instance)
{
	struct generations generations = instance_generations(instance);
	int64_t now_ms = clock_monotonic_ms();
	int64_t due_ms = notify_watchdog(now_ms);

	if (reload_due_ms(instance) < due_ms)
		due_ms = reload_due_ms(instance);
	for (size_t i = 0; i < generations.count; i++) {
		int64_t generation_ms = generation_due_ms(generations.all[i]);

		due_ms = generation_ms < due_ms ? generation_ms : due_ms;
	}
	if (due_ms < now_ms)
		due_ms = now_ms;
	if (due_ms > now_ms + WAIT_MOST_MS)
		due_ms = now_ms + WAIT_MOST_MS;
	return (struct timespec){
		.tv_sec = (due_ms - now_ms) / 1000,
		.tv_nsec = (due_ms - now_ms) % 1000 * 1000000,
	};
}

static void
hear(struct instance *instance)
{
	struct generations generations = instance_generations(instance);
	int64_t now_ms = clock_monotonic_ms();

	for (size_t i = 0; i < generations.count; i++)
		for (size_t j = 0; j < generations.all[i]->count; j++)
			instance_hear(instance, &generations.all[i]->children[j], now_ms);
	reload_hear(&instance->reload);
}

/* Waits for everything that has ended: as pid 1 of a container for strangers' orphans, too. */
static void
bury(struct instance *instance)
{
	struct generations generations = instance_generations(instance);
	int status;
	pid_t pid;

	if (!child_has_ended)
		return;
	child_has_ended = 0;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (reload_bury(&instance->reload, pid, status))
			continue;
		for (size_t i = 0; i < generations.count; i++) {
			struct child *child = generation_find(generations.all[i], pid);

			if (child)
				bury_child(instance, generations.all[i], child, status);
		}
	}
}

/* A worker may have died between its commit and its write to the mirror. */
static void
bury_child(
    struct instance *instance, struct generation *generation, struct child *child, int status)
{
	int64_t now_ms = clock_monotonic_ms();

	instance_hear(instance, child, now_ms);
	instance_retire(instance, child);
	instance->restarts += generation->state != GENERATION_STOPPING;
	generation_child_ended(generation, child, status, now_ms);
	if (child->kind == CHILD_WORKER && status != 0)
		instance_catch_up(instance);
}

static void
obey_signals(struct instance *instance)
{
	if (must_log)
		log_status(instance);
	must_log = 0;
	if (must_reload)
		instance->reload.wanted = true;
	must_reload = 0;
	if ((terms > 0 || interrupts > 0) && !instance->ending)
		end(instance, 0);
	/* The same one again is impatience; TERM from a script right after Ctrl-C is not. */
	if (must_quit || terms > 1 || interrupts > 1) {
		end(instance, 0);
		kill_all(instance);
		must_quit = terms = interrupts = 0;
	}
}

static void
log_status(const struct instance *instance)
{
	struct generations generations = instance_generations(instance);

	for (size_t i = 0; i < generations.count; i++)
		generation_log(generations.all[i], clock_monotonic_ms());
}

static void
end(struct instance *instance, int exit_status)
{
	struct generations generations = instance_generations(instance);

	if (instance->ending)
		return;
	instance->ending = true;
	instance->exit_status = exit_status;
	log_info("mitrad is stopping");
	notify_stopping();
	for (size_t i = 0; i < generations.count; i++) {
		struct generation *generation = generations.all[i];
		bool shared = generation != instance->running && instance->running;

		generation_stop(generation, shared ? &instance->running->listeners : NULL,
		    clock_monotonic_ms());
	}
}

static void
kill_all(struct instance *instance)
{
	struct generations generations = instance_generations(instance);

	for (size_t i = 0; i < generations.count; i++)
		generation_kill(generations.all[i]);
}

static void
advance(struct instance *instance)
{
	struct generation **places[] = { &instance->starting, &instance->running,
		&instance->stopping };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct generation *generation = *places[i];

		if (!generation)
			continue;
		generation_advance(generation, clock_monotonic_ms());
		if (generation->state == GENERATION_STOPPING &&
		    generation_living(generation) == 0) {
			generation_free(generation);
			*places[i] = NULL;
		}
	}
}

/* What has become of the first start, and of the generation that runs. What is new is reload.c's to judge. */
static void
judge(struct instance *instance)
{
	struct generation *generation = instance->running ? instance->running : instance->starting;

	if (!generation || instance->ending)
		return;
	if (generation->failure) {
		log_critical("%s", generation->reason);
		end(instance, generation->failure);
	} else if (generation == instance->starting && generation->state == GENERATION_RUNNING) {
		started(instance);
	}
}

static void
started(struct instance *instance)
{
	char status[256];

	instance->running = instance->starting;
	instance->starting = NULL;
	instance_describe(instance, status, sizeof(status));
	log_info("mitrad " MITRAD_VERSION " is ready: %s", status);
	notify_ready(status);
}
