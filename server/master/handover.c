/*
 * handover: exec() and what survives it. The text is written and read by handover_text.c.
 */
#include "server/master/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/master/handover_text.h"
#include "server/master/instance.h"

#define VARIABLE   "MITRAD_HANDOVER" /* "forward 7" or "back 7" */
#define BYTES_MOST ((size_t)1024 * 1024)

static int received = -1; /* the memfd */

static void execute(struct instance *, const char *direction, int previous_program, int program);
static int write_text(const struct instance *, int previous_program);
static char *read_text(int fd, size_t *length);
static void give_back_unread(struct instance *, int previous_program);
static void
for_each_descriptor(const struct instance *, void (*)(int fd, bool inherited), bool inherited);
static void set_inherited(int fd, bool inherited);

enum handover
handover_receive(void)
{
	const char *value = getenv(VARIABLE);
	enum handover direction = HANDOVER_NONE;
	char word[8];
	int length = 0;

	if (value && sscanf(value, "%7s %d%n", word, &received, &length) == 2 &&
	    value[length] == '\0')
		direction = strcmp(word, "forward") == 0 ? HANDOVER_FORWARD
			    : strcmp(word, "back") == 0  ? HANDOVER_BACK
							 : HANDOVER_NONE;
	unsetenv(VARIABLE);
	return direction;
}

bool
handover_adopt(struct instance *instance, enum handover direction)
{
	size_t length = 0;
	char *text = read_text(received, &length);
	int previous_program = text ? handover_text_program(text) : -1;
	bool adopted = text && handover_text_read(instance, text, length);

	if (text)
		explicit_bzero(text, length);
	free(text);
	if (!adopted) {
		log_critical("reload: what the program before us has left cannot be read");
		if (direction == HANDOVER_FORWARD)
			give_back_unread(instance, previous_program);
		return false;
	}
	for_each_descriptor(instance, set_inherited, false);
	close(received);
	if (direction == HANDOVER_FORWARD) {
		set_inherited(previous_program, false);
		instance->reload.previous_program = previous_program;
	}
	return true;
}

/* Nothing has been touched, so the text is still true. */
static void
give_back_unread(struct instance *instance, int previous_program)
{
	char value[32];

	snprintf(value, sizeof(value), "back %d", received);
	if (setenv(VARIABLE, value, 1) == 0)
		fexecve(previous_program, instance->argv, environ);
}

void
handover_forward(struct instance *instance)
{
	int itself = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	int error;

	if (itself < 0)
		return;
	execute(instance, "forward", itself, -1);
	error = errno;
	close(itself);
	errno = error;
}

void
handover_back(struct instance *instance)
{
	execute(instance, "back", -1, instance->reload.previous_program);
}

/* program: -1 for the one on disk. */
static void
execute(struct instance *instance, const char *direction, int previous_program, int program)
{
	int fd = write_text(instance, previous_program);
	char value[32];
	int error;

	if (fd < 0)
		return;
	snprintf(value, sizeof(value), "%s %d", direction, fd);
	if (setenv(VARIABLE, value, 1) == 0) {
		set_inherited(fd, true);
		if (previous_program >= 0)
			set_inherited(previous_program, true);
		for_each_descriptor(instance, set_inherited, true);
		log_flush();
		if (program >= 0)
			fexecve(program, instance->argv, environ);
		else
			execv(instance->argv[0], instance->argv);
	}
	error = errno;
	for_each_descriptor(instance, set_inherited, false);
	unsetenv(VARIABLE);
	close(fd);
	errno = error;
}

/* A memfd; -1 with errno. */
static int
write_text(const struct instance *instance, int previous_program)
{
	int fd = memfd_create("mitrad-handover", MFD_CLOEXEC);
	int copy = fd >= 0 ? dup(fd) : -1;
	FILE *out = copy >= 0 ? fdopen(copy, "w") : NULL;
	bool written = false;

	if (out) {
		setvbuf(out, NULL, _IONBF, 0); /* secrets stay in no buffer */
		handover_text_write(instance, previous_program, out);
		written = !ferror(out);
		written = fclose(out) == 0 && written;
	}
	if (written && lseek(fd, 0, SEEK_SET) == 0)
		return fd;
	if (!out && copy >= 0)
		close(copy);
	if (fd >= 0)
		close(fd);
	return -1;
}

/* With a NUL behind it; NULL if there is nothing sensible. Owned by the caller. */
static char *
read_text(int fd, size_t *length)
{
	struct stat status;
	char *text;

	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size <= 0 ||
	    (size_t)status.st_size > BYTES_MOST)
		return NULL;
	text = calloc(1, (size_t)status.st_size + 1);
	if (!text)
		fatal("out of memory");
	*length = (size_t)status.st_size;
	if (pread(fd, text, *length, 0) == (ssize_t)*length)
		return text;
	free(text);
	return NULL;
}

static void
for_each_descriptor(
    const struct instance *instance, void (*act)(int fd, bool inherited), bool inherited)
{
	const struct generation *generation = instance->running;

	for (size_t i = 0; i < generation->listeners.count; i++)
		act(generation->listeners.all[i].fd, inherited);
	for (size_t i = 0; i < generation->count; i++)
		if (generation->children[i].channel >= 0)
			act(generation->children[i].channel, inherited);
}

static void
set_inherited(int fd, bool inherited)
{
	(void)fcntl(fd, F_SETFD, inherited ? 0 : FD_CLOEXEC);
}
