/*
 * log_sink: writes to stdout, or another descriptor, without ever waiting for its reader, and without making it
 * non-blocking for the others who have it open.  Used by log.c only.
 */
#ifndef COMMON_LOG_SINK_H
#define COMMON_LOG_SINK_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#define LOG_SINK_BYTES_MAX \
	PIPE_BUF /* a write of at most so many bytes enters a pipe in one piece */

/* Instead of stdout. Call log_sink_open() afterwards. */
void log_sink_use(int fd);
/* Finds out what the descriptor is. Call again after fork(), and whenever it has been replaced. */
void log_sink_open(void);
/*
 * At most LOG_SINK_BYTES_MAX. How many bytes went out; -1 with errno, EAGAIN meaning that the reader is slow.
 */
ssize_t log_sink_write(const char *bytes, size_t length);

#endif
