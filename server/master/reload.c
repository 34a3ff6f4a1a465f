/*
 * reload: the steps of a reload, as they happen; reload_advance() is called once a turn and takes the
 * one that is due.
 */
#include "server/master/reload.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/master/handover.h"
#include "server/master/instance.h"
#include "server/master/notify.h"

#define CHECK_MS 15000

static void start_check(struct instance *, int64_t now_ms);
static _Noreturn void run_check(const struct instance *, int output);
static void check_ended(struct instance *);
static const char *said_in_one_line(struct reload *);
static void judge_trial(struct instance *, int64_t now_ms);
static void abandon(struct instance *, int64_t now_ms, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void
refuse(struct instance *, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void go_back(struct instance *);
static void settle(struct instance *, int64_t now_ms);
static void goes_on(const struct instance *);

void
reload_init(struct reload *reload)
{
	*reload = (struct reload){ .output = -1, .previous_program = -1 };
}

void
reload_advance(struct instance *instance, int64_t now_ms)
{
	struct reload *reload = &instance->reload;

	if (instance->ending)
		return;
	if (reload->checked) {
		check_ended(instance);
	} else if (reload->checker) {
		if (now_ms >= reload->give_up_ms)
			kill(reload->checker, SIGKILL);
	} else if (instance->starting) {
		judge_trial(instance, now_ms);
	} else if (reload->going_back) {
		go_back(instance);
	} else if (reload->wanted && instance->running && !instance->stopping) {
		start_check(instance, now_ms);
	}
}

int64_t
reload_due_ms(const struct instance *instance)
{
	const struct reload *reload = &instance->reload;
	bool limited = reload->checker || (instance->starting && instance->running);

	return limited && !reload->going_back && !instance->ending ? reload->give_up_ms : INT64_MAX;
}

/* 1: the check. */

static void
start_check(struct instance *instance, int64_t now_ms)
{
	struct reload *reload = &instance->reload;
	int pipes[2];

	reload->wanted = false;
	notify_reloading();
	log_info("reload: checking %s", instance->argv[0]);
	log_flush();
	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) != 0) {
		refuse(instance, "no pipe: %s", strerror(errno));
		return;
	}
	reload->checker = fork();
	if (reload->checker == 0)
		run_check(instance, pipes[1]);
	close(pipes[1]);
	if (reload->checker < 0) {
		reload->checker = 0;
		close(pipes[0]);
		refuse(instance, "no process: %s", strerror(errno));
		return;
	}
	reload->output = pipes[0];
	reload->said_bytes = 0;
	reload->give_up_ms = now_ms + CHECK_MS;
}

static void
run_check(const struct instance *instance, int output)
{
	char check[] = "check", handover[] = "handover", role[] = "--role", config[] = "--config";
	char *arguments[] = { instance->argv[0], check, handover, role, instance->role_name,
		instance->file ? config : NULL, instance->file, NULL };
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	execv(arguments[0], arguments);
	dprintf(STDERR_FILENO, "%s: %s\n", arguments[0], strerror(errno));
	_exit(1);
}

/* Reads what the checker says; what is too much is read and forgotten. */
void
reload_hear(struct reload *reload)
{
	char rest[512];
	ssize_t got = 1;

	while (reload->output >= 0 && got > 0) {
		size_t room = sizeof(reload->said) - 1 - reload->said_bytes;

		got = read(reload->output, room ? reload->said + reload->said_bytes : rest,
		    room ? room : sizeof(rest));
		if (got > 0 && room > 0)
			reload->said_bytes += (size_t)got;
	}
	if (reload->output >= 0 && got == 0) {
		close(reload->output);
		reload->output = -1;
	}
}

bool
reload_bury(struct reload *reload, pid_t pid, int status)
{
	if (pid != reload->checker)
		return false;
	reload_hear(reload);
	if (reload->output >= 0)
		close(reload->output);
	reload->output = -1;
	reload->checker = 0;
	reload->checked = true;
	reload->check_status = status;
	return true;
}

static void
check_ended(struct instance *instance)
{
	struct reload *reload = &instance->reload;
	int status = reload->check_status;
	char wanted[32];

	reload->checked = false;
	reload->said[reload->said_bytes] = '\0';
	snprintf(wanted, sizeof(wanted), "handover %d\n", HANDOVER_VERSION);
	if (WIFSIGNALED(status))
		refuse(instance, "the check of %s was ended by signal %d%s%s", instance->argv[0],
		    WTERMSIG(status), reload->said_bytes ? ": " : "", said_in_one_line(reload));
	else if (WEXITSTATUS(status) != 0)
		refuse(instance, "%s", said_in_one_line(reload));
	else if (strcmp(reload->said, wanted) != 0)
		refuse(instance, "%s cannot take over from this version; restart instead",
		    instance->argv[0]);
	else {
		handover_forward(instance);
		refuse(instance, "%s: %s", instance->argv[0], strerror(errno));
	}
}

static const char *
said_in_one_line(struct reload *reload)
{
	static char line[sizeof(reload->said) * 2];
	size_t length = 0;

	while (reload->said_bytes > 0 && reload->said[reload->said_bytes - 1] == '\n')
		reload->said_bytes--;
	for (size_t i = 0; i < reload->said_bytes; i++) {
		if (reload->said[i] == '\n')
			line[length++] = ';';
		line[length++] = reload->said[i] == '\n' ? ' ' : reload->said[i];
	}
	line[length] = '\0';
	return length > 0 ? line : "the check failed and did not say why";
}

/* 3: the new generation, in the new program. */

void
reload_try(struct instance *instance, int64_t now_ms)
{
	struct listeners listeners;
	struct config config;
	char *faults = NULL;
	size_t faults_bytes = 0;
	FILE *out = open_memstream(&faults, &faults_bytes);
	char fault[160];
	int count;

	if (!out)
		fatal("out of memory");
	count = config_load(&config, instance->file, instance->role, out);
	if (fclose(out) != 0)
		fatal("out of memory");
	if (count > 0) {
		faults[strcspn(faults, "\n")] = '\0';
		abandon(instance, now_ms, "%s", faults);
		config_free(&config);
	} else if (!listeners_open(
		       &listeners, &config, &instance->running->listeners, fault, sizeof(fault))) {
		abandon(instance, now_ms, "%s", fault);
		config_free(&config);
	} else {
		log_init(config.log_level, config.log_format);
		instance->reload.give_up_ms = now_ms +
					      (int64_t)config.startup_timeout_seconds * 1000;
		instance->starting = generation_new(++instance->last_number, &config, &listeners);
	}
	free(faults);
}

static void
judge_trial(struct instance *instance, int64_t now_ms)
{
	struct generation *generation = instance->starting;

	/* The first generation is the master's business, and one that stops already has been judged. */
	if (!instance->running || generation->state == GENERATION_STOPPING)
		return;
	if (generation->failure)
		abandon(instance, now_ms, "%s", generation->reason);
	else if (generation->state == GENERATION_RUNNING)
		settle(instance, now_ms);
	else if (now_ms >= instance->reload.give_up_ms)
		abandon(instance, now_ms, "generation %d was not ready within %d s",
		    generation->number, generation->config.startup_timeout_seconds);
}

/* 4: it is good. */
static void
settle(struct instance *instance, int64_t now_ms)
{
	char status[256];

	close(instance->reload.previous_program);
	instance->reload.previous_program = -1;
	instance->reloads++;
	instance->stopping = instance->running;
	instance->running = instance->starting;
	instance->starting = NULL;
	generation_stop(instance->stopping, &instance->running->listeners, now_ms);
	instance_describe(instance, status, sizeof(status));
	log_info("mitrad " MITRAD_VERSION " is reloaded: %s", status);
	notify_ready(status);
}

/* 4': it is not. Its workers may be serving already, so they drain. */
static void
abandon(struct instance *instance, int64_t now_ms, const char *format, ...)
{
	char reason[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	instance->reload_failures++;
	instance->reload.going_back = true;
	log_error("reload failed, generation %d goes on: %s", instance->running->number, reason);
	if (instance->starting)
		generation_stop(instance->starting, &instance->running->listeners, now_ms);
}

static void
go_back(struct instance *instance)
{
	handover_back(instance);
	/* It serves all the same: the old children live, and their successors have their configuration. */
	log_critical("reload: the program before this one cannot be executed: %s", strerror(errno));
	instance->reload.going_back = false;
	close(instance->reload.previous_program);
	instance->reload.previous_program = -1;
	goes_on(instance);
}

void
reload_returned(struct instance *instance)
{
	goes_on(instance);
}

/* Nothing has been changed yet. */
static void
refuse(struct instance *instance, const char *format, ...)
{
	char reason[4608];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	instance->reload_failures++;
	log_error("reload refused, generation %d goes on: %s", instance->running->number, reason);
	goes_on(instance);
}

/* systemd was told of a reload: it is over. */
static void
goes_on(const struct instance *instance)
{
	char status[256];

	instance_describe(instance, status, sizeof(status));
	notify_ready(status);
}
