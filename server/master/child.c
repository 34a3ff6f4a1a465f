/*
 * child: how a child comes into the world, is listened to, and is given up.
 *
 * Between fork() and worker_main() a child becomes its own process: it dies with its master, has no
 * signal handlers and no descriptors of the master, and forgets the secrets that came by environment;
 * its configuration has them.
 */
#include "server/master/child.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/boot.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/log.h"
#include "schema/migrate.h"
#include "server/master/generation.h"
#include "server/master/title.h"

#define SILENCE_MS        10000 /* without a tick: hung */
#define ABORT_MS          2000  /* SIGABRT did not help: SIGKILL */
#define SHORT_LIFE_MS     10000
#define LONG_LIFE_MS      30000 /* after it all is forgiven */
#define BACK_OFF_FIRST_MS 100
#define BACK_OFF_MOST_MS  10000

static _Noreturn void
live(const struct child *, const struct generation *, int channel, pid_t master);
static void reset_signals(void);
static void close_all_but(int channel, const struct boot_listener *, size_t count);
static int compare_fds(const void *, const void *);
static void close_between(int first, int last);
static void forget_environment(void);
static int64_t back_off_ms(const struct child *, int64_t lived_ms);

void
child_name(const struct child *child, char name[CHILD_NAME_SIZE])
{
	if (child->kind == CHILD_SWEEPER)
		snprintf(name, CHILD_NAME_SIZE, "sweeper");
	else
		snprintf(name, CHILD_NAME_SIZE, "worker-%d", child->index);
}

bool
child_is_backing_off(const struct child *child)
{
	return child->short_lives >= 2;
}

void
child_start(struct child *child, const struct generation *generation, int64_t now_ms)
{
	pid_t master = getpid();
	int pair[2];

	child->started_ms = child->ticked_ms = now_ms;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
		log_error("no channel for a child: %s", strerror(errno));
		child_ended(child, true, now_ms);
		return;
	}
	log_flush();
	child->pid = fork();
	if (child->pid == 0)
		live(child, generation, pair[1], master);
	close(pair[1]);
	child->channel = pair[0];
	if (child->pid < 0) {
		log_error("no process for a child: %s", strerror(errno));
		child_ended(child, true, now_ms);
	}
}

static void
live(const struct child *child, const struct generation *generation, int channel, pid_t master)
{
	struct boot_listener *share = calloc(generation->listeners.count + 1, sizeof(*share));
	struct boot boot = {
		.config = &generation->config,
		.index = child->index,
		.workers = generation->workers,
		.generation = generation->number,
		.schema_stamp = schema_stamp(),
		.channel = channel,
		.listeners = share,
	};
	char name[CHILD_NAME_SIZE];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != master || !share) /* it died before we asked to be told */
		_exit(1);
	if (child->kind == CHILD_WORKER)
		boot.listener_count = listeners_share(
		    &generation->listeners, child->index, generation->workers, share);
	close_all_but(channel, share, boot.listener_count);
	log_init(generation->config.log_level, generation->config.log_format);
	log_after_fork();

	child_name(child, name);
	log_set_process(name);
	if (child->kind == CHILD_SWEEPER)
		title_set("mitrad: sweeper");
	else
		title_set("mitrad: worker %d", child->index);
	forget_environment();
	reset_signals();
	exit(child->kind == CHILD_SWEEPER ? sweeper_main(&boot) : worker_main(&boot));
}

static void
reset_signals(void)
{
	static const int defaults[] = { SIGTERM, SIGCHLD, SIGALRM, SIGUSR2 };
	static const int ignored[] = { SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGPIPE };
	sigset_t none;

	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
		signal(defaults[i], SIG_DFL);
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Before log_after_fork(), which opens what the log needs anew. */
static void
close_all_but(int channel, const struct boot_listener *listeners, size_t count)
{
	int *kept = calloc(count + 1, sizeof(*kept));
	int next = STDERR_FILENO + 1;

	if (!kept)
		_exit(1);
	kept[0] = channel;
	for (size_t i = 0; i < count; i++)
		kept[i + 1] = listeners[i].fd;
	qsort(kept, count + 1, sizeof(*kept), compare_fds);
	for (size_t i = 0; i <= count; i++) {
		close_between(next, kept[i] - 1);
		next = kept[i] + 1;
	}
	close_between(next, INT_MAX);
	free(kept);
}

static int
compare_fds(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void
close_between(int first, int last)
{
	long most = sysconf(_SC_OPEN_MAX);

	if (first > last || close_range((unsigned)first, (unsigned)last, 0) == 0)
		return;
	/* A kernel before 5.9, or a sandbox that does not know the call. */
	for (int fd = first; fd <= last && fd < most; fd++)
		close(fd);
}

static void
forget_environment(void)
{
	config_forget_environment();
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

void
child_hear(struct child *child, int64_t now_ms)
{
	struct channel_packet packet;
	enum channel_read got = CHANNEL_EMPTY;

	while (
	    child->channel >= 0 && (got = channel_read(child->channel, &packet)) == CHANNEL_GOT) {
		child->ready |= packet.kind == CHANNEL_READY;
		child->asked_metrics |= packet.kind == CHANNEL_METRICS_ASK;
		if (packet.kind != CHANNEL_TICK)
			continue;
		child->ticked_ms = now_ms;
		if (packet.layout != channel_layout())
			continue;
		child->counters = packet.tick.counters;
		child->gauges = packet.tick.gauges;
		child->series = packet.tick.series;
		memcpy(child->status, packet.tick.status, sizeof(child->status));
		child->status[sizeof(child->status) - 1] = '\0';
	}
	if (got == CHANNEL_ENDED) {
		close(child->channel);
		child->channel = -1;
	}
}

void
child_signal(const struct child *child, int signal)
{
	if (child->pid > 0)
		kill(child->pid, signal);
}

void
child_watch(struct child *child, int64_t now_ms)
{
	char name[CHILD_NAME_SIZE];

	if (child->pid <= 0)
		return;
	if (now_ms >= child->started_ms + LONG_LIFE_MS)
		child->short_lives = 0;
	if (child->aborted_ms == 0 && now_ms >= child->ticked_ms + SILENCE_MS) {
		child_name(child, name);
		log_error("%s (pid %d) has not ticked for %d s and is aborted", name,
		    (int)child->pid, SILENCE_MS / 1000);
		child_signal(child, SIGABRT);
		child->aborted_ms = now_ms;
	}
	if (child->aborted_ms != 0 && now_ms >= child->aborted_ms + ABORT_MS) {
		child_signal(child, SIGKILL);
		child->aborted_ms = now_ms;
	}
}

/* The counts of its life go to whoever emptied them into a sum before; its place in the table stays. */
void
child_ended(struct child *child, bool unasked, int64_t now_ms)
{
	int64_t lived_ms = now_ms - child->started_ms;

	if (child->channel >= 0)
		close(child->channel);
	if (unasked) {
		child->short_lives = lived_ms < LONG_LIFE_MS ? child->short_lives + 1 : 0;
		child->retry_ms = now_ms + back_off_ms(child, lived_ms);
	}
	child->pid = 0;
	child->channel = -1;
	child->ready = false;
	child->asked_metrics = false;
	child->aborted_ms = 0;
	child->counters = (struct counters){ 0 };
	child->gauges = (struct gauges){ 0 };
	child->series = (struct series){ 0 };
	child->status[0] = '\0';
}

/* The first short life may be an accident, and costs nothing. */
static int64_t
back_off_ms(const struct child *child, int64_t lived_ms)
{
	int64_t delay_ms = BACK_OFF_FIRST_MS;

	if (lived_ms > SHORT_LIFE_MS || child->short_lives <= 1)
		return 0;
	for (int i = 2; i < child->short_lives && delay_ms < BACK_OFF_MOST_MS; i++)
		delay_ms *= 2;
	return delay_ms < BACK_OFF_MOST_MS ? delay_ms : BACK_OFF_MOST_MS;
}

int64_t
child_due_ms(const struct child *child)
{
	if (child->pid <= 0)
		return child->retry_ms;
	if (child->aborted_ms != 0)
		return child->aborted_ms + ABORT_MS;
	return child->ticked_ms + SILENCE_MS;
}
