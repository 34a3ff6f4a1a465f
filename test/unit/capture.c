/* capture: fork(), dup2() and read(). */
#include "test/unit/capture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

char *
capture(void (*fn)(void *argument), void *argument, int *status)
{
	int ends[2];
	pid_t child;
	char *text;

	if (pipe(ends) != 0)
		abort();
	child = capture_start(ends[1], fn, argument);
	close(ends[1]);
	text = capture_read(ends[0], NULL);
	close(ends[0]);
	*status = capture_wait(child);
	return text;
}

pid_t
capture_start(int stdout_fd, void (*fn)(void *argument), void *argument)
{
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child < 0)
		abort();
	if (child > 0)
		return child;
	dup2(stdout_fd, STDOUT_FILENO);
	/* Whoever holds the other end must see its end when the child ends. */
	close_range(3, ~0U, 0);
	fn(argument);
	_exit(0);
}

char *
capture_read(int fd, size_t *length)
{
	size_t size = 1 << 16, used = 0;
	char *text = malloc(size + 1);
	ssize_t got;

	if (!text)
		abort();
	while ((got = read(fd, text + used, size - used)) > 0 || (got < 0 && errno == EINTR)) {
		used += got > 0 ? (size_t)got : 0;
		if (used < size)
			continue;
		size *= 2;
		text = realloc(text, size + 1);
		if (!text)
			abort();
	}
	text[used] = '\0';
	if (length)
		*length = used;
	return text;
}

int
capture_wait(pid_t child)
{
	int status = -1;

	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}
