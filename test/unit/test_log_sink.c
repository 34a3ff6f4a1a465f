/*
 * What log.h promises of the reader: a slow one, one who is gone, and one shared by several processes.
 *
 * Each kind of stdout is tried: a pipe, a pipe that belongs to another user (as in a container), a socket, a
 * file, a device.
 */
#include "test/unit/unit.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/unit/capture.h"
#include "common/log.h"

#define LINES         20000 /* more than any buffer on the way takes */
#define NOBODY        65534
#define LIMIT_SECONDS 60 /* a child that takes longer was blocked */

/* The two ends of what shall be a child's stdout. */
struct channel {
	const char *name;
	int reader, writer;
};

static struct channel
open_pipe(void)
{
	int ends[2];

	if (pipe(ends) != 0)
		abort();
	return (struct channel){ "a pipe", ends[0], ends[1] };
}

/* Nobody may open it anew; the children give up root's right to do so all the same. */
static struct channel
open_foreign_pipe(void)
{
	struct channel channel = open_pipe();

	channel.name = "another user's pipe";
	fchmod(channel.writer, 0);
	return channel;
}

static struct channel
open_socket(void)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
		abort();
	return (struct channel){ "a socket", ends[0], ends[1] };
}

static struct channel (*const channels[])(void) = { open_pipe, open_foreign_pipe, open_socket };
static const size_t channel_count = sizeof(channels) / sizeof(channels[0]);

static void
begin_child(void)
{
	alarm(LIMIT_SECONDS);
	if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0)
		abort();
	log_init(SEVERITY_INFO, FORMAT_TEXT);
}

static void
log_lines(int count)
{
	for (int i = 0; i < count; i++) {
		log_info("line %d of a process that says more than its reader takes", i);
		log_flush();
	}
}

static int
count_of(const char *text, const char *needle)
{
	int count = 0;

	for (; (text = strstr(text, needle)); text++)
		count++;
	return count;
}

/* As the log's own lines tell. */
static int
lines_lost(const char *text)
{
	int lost = 0, sum = 0;

	while ((text = strstr(text, "] "))) {
		text += 2;
		if (sscanf(text, "%d log lines lost: the reader was slow\n", &lost) == 1 &&
		    strchr("1234567890", *text))
			sum += lost;
	}
	return sum;
}

/* Every line begins with a time and ends as log_lines() and the log itself let them end. */
static int
count_whole_lines(const char *text)
{
	int whole = 0;

	while (*text) {
		size_t length = strcspn(text, "\n");
		char line[200];

		snprintf(line, sizeof(line), "%.*s", (int)length, text);
		whole += fnmatch("??:??:??.??? INFO *[[]*[]] line * of a process that says more "
				 "than its reader takes",
			     line, 0) == 0 ||
			 fnmatch(
			     "??:??:??.??? WARNING *[[]*[]] * log lines lost: the reader was slow",
			     line, 0) == 0;
		text += length + (text[length] == '\n');
	}
	return whole;
}

/*
 * Stops itself when all is said, so that the reader begins only then; flushes from then on until it is
 * killed.
 */
static void
overwhelm_reader(void *argument)
{
	begin_child();
	log_lines(LINES);
	raise(SIGSTOP);
	for (;;) {
		log_flush();
		poll(NULL, 0, 1);
	}
}

static char *read_until_told_of(int fd, int lines);

TEST("a reader that does not read blocks nobody, and learns how many lines it lost once it reads")
{
	for (size_t i = 0; i < channel_count; i++) {
		struct channel channel = channels[i]();
		pid_t child = capture_start(channel.writer, overwhelm_reader, NULL);
		int status = 0;
		char *text;

		unit_about("%s", channel.name);
		close(channel.writer);
		waitpid(child, &status, WUNTRACED);
		if (CHECK(WIFSTOPPED(status))) {
			kill(child, SIGCONT);
			text = read_until_told_of(channel.reader, LINES);
			CHECK(lines_lost(text) > 0);
			CHECK_NUMBER(count_of(text, " INFO ") + lines_lost(text), LINES);
			CHECK_NUMBER(count_whole_lines(text), count_of(text, "\n"));
			free(text);
		}
		kill(child, SIGKILL);
		capture_wait(child);
		close(channel.reader);
	}
}

/* What has come when so many lines have, or it has been said that they are lost; or at the end. To be freed. */
static char *
read_until_told_of(int fd, int lines)
{
	size_t size = 4 << 20, used = 0;
	char *text = calloc(1, size);
	ssize_t got;

	while (text && used < size - 1 && (got = read(fd, text + used, size - 1 - used)) > 0) {
		used += (size_t)got;
		if (text[used - 1] == '\n' && count_of(text, " INFO ") + lines_lost(text) == lines)
			break;
	}
	return text;
}

static void
lose_reader(void *argument)
{
	begin_child();
	log_lines(3);
	raise(SIGSTOP);
	log_lines(LINES);
	log_warning("nobody hears this");
	_exit(7);
}

TEST("a reader that is gone neither blocks nor ends the process")
{
	for (size_t i = 0; i < channel_count; i++) {
		struct channel channel = channels[i]();
		pid_t child = capture_start(channel.writer, lose_reader, NULL);
		int status = 0;

		unit_about("%s", channel.name);
		waitpid(child, &status, WUNTRACED);
		close(channel.reader);
		close(channel.writer);
		kill(child, SIGCONT);
		status = capture_wait(child);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	}
}

/* Each flushes until it is killed, when the reader has all. */
static void
log_as_one_of_four(void *argument)
{
	begin_child();
	for (int process = 0; process < 4; process++) {
		if (fork() > 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		log_after_fork();
		alarm(LIMIT_SECONDS);
		log_lines(LINES / 10);
		for (;;) {
			log_flush();
			poll(NULL, 0, 1);
		}
	}
	while (wait(NULL) > 0)
		;
}

TEST("lines of several processes that share one pipe never mingle")
{
	for (size_t i = 0; i < 2; i++) {
		struct channel channel = channels[i]();
		pid_t child = capture_start(channel.writer, log_as_one_of_four, NULL);
		char *text;

		unit_about("%s", channel.name);
		close(channel.writer);
		text = read_until_told_of(channel.reader, 4 * (LINES / 10));
		CHECK_NUMBER(count_whole_lines(text), count_of(text, "\n"));
		CHECK_NUMBER(count_of(text, " INFO ") + lines_lost(text), 4 * (LINES / 10));
		kill(child, SIGKILL);
		capture_wait(child);
		close(channel.reader);
		free(text);
	}
}

static void
tell_flags(void *argument)
{
	begin_child();
	log_lines(1);
	_exit(fcntl(STDOUT_FILENO, F_GETFL) & O_NONBLOCK ? 1 : 0);
}

TEST("stdout stays a blocking one for everyone else who has it open")
{
	for (size_t i = 0; i < channel_count; i++) {
		struct channel channel = channels[i]();
		pid_t child = capture_start(channel.writer, tell_flags, NULL);

		unit_about("%s", channel.name);
		CHECK_NUMBER(capture_wait(child), 0);
		CHECK((fcntl(channel.writer, F_GETFL) & O_NONBLOCK) == 0);
		close(channel.reader);
		close(channel.writer);
	}
}

static void
log_three_lines(void *argument)
{
	begin_child();
	log_lines(3);
}

TEST("lines are appended to a file, by whomever it was opened, and however")
{
	char path[] = "/tmp/mitrad-log-XXXXXX";
	int fd = mkstemp(path);
	char *text;

	unlink(path);
	CHECK(write(fd, "before\n", 7) == 7);
	for (int i = 0; i < 2; i++)
		capture_wait(capture_start(fd, log_three_lines, NULL));
	lseek(fd, 0, SEEK_SET);
	text = capture_read(fd, NULL);
	CHECK(strncmp(text, "before\n", 7) == 0);
	CHECK_NUMBER(count_whole_lines(text), 6);
	close(fd);
	free(text);
}

static void
fill_disk(void *argument)
{
	begin_child();
	log_lines(LINES);
	log_warning("this does not fit either");
	_exit(7);
}

TEST("a full disk neither blocks nor ends the process")
{
	int fd = open("/dev/full", O_WRONLY);
	int status = capture_wait(capture_start(fd, fill_disk, NULL));

	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	close(fd);
}

static void
log_to_nothing(void *argument)
{
	close(STDOUT_FILENO);
	fill_disk(NULL);
}

TEST("a stdout that is closed neither blocks nor ends the process")
{
	int status = capture_wait(capture_start(STDOUT_FILENO, log_to_nothing, NULL));

	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}
