/* capture: runs a function in a child whose stdout is given, and collects what comes out. */
#ifndef TEST_UNIT_CAPTURE_H
#define TEST_UNIT_CAPTURE_H

#include <stddef.h>
#include <sys/types.h>

/* Everything that fn(argument) writes to a pipe as its stdout. *status is as of waitpid(). To be freed. */
char *capture(void (*fn)(void *argument), void *argument, int *status);

/* The steps of it, for tests that want another stdout or look at the child while it runs. */
pid_t capture_start(int stdout_fd, void (*fn)(void *argument), void *argument);
/* Up to its end. *length may be NULL; there is a NUL behind. To be freed. */
char *capture_read(int fd, size_t *length);
int capture_wait(pid_t);

#endif
