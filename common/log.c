/*
 * log: the backlog between log_write() and the reader of stdout.
 *
 * Lines gather in one buffer of fixed size and go out in pieces of whole lines that a pipe takes at once.
 * When the reader is slow they stay; when the buffer is full, the newest lines are dropped and counted, and
 * the count is logged as soon as the buffer has been emptied.  No memory is allocated: logging works when
 * nothing else does.
 */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log_line.h"
#include "common/log_sink.h"

#define BACKLOG_BYTES ((size_t)64 * 1024)

static enum log_severity least_severity = SEVERITY_INFO;
static enum log_format line_format = FORMAT_TEXT;
static char process_name[32];
static pid_t pid; /* 0: not asked yet */

static char backlog[BACKLOG_BYTES];
static size_t backlog_start; /* what lies before it has been written */
static size_t backlog_end;
static uint64_t lost_lines; /* since the last line about it */

static void write_event(enum log_severity, const struct log_field *, size_t fields,
    const char *format, va_list) __attribute__((format(printf, 4, 0)));
static void gather(enum log_severity, const struct log_field *, size_t fields, const char *message);
static bool make_room(size_t bytes);
static bool write_piece(void);
static size_t piece_length(void);
static void drop_backlog(void);
static void report_lost_lines(void);
static _Noreturn void
end_process(int status, const char *format, va_list) __attribute__((format(printf, 2, 0)));

void
log_init(enum log_severity least, enum log_format format)
{
	least_severity = least;
	line_format = format;
	log_sink_open();
}

void
log_to_stderr(void)
{
	log_sink_use(STDERR_FILENO);
}

void
log_set_process(const char *name)
{
	snprintf(process_name, sizeof(process_name), "%s", name);
}

void
log_after_fork(void)
{
	backlog_start = backlog_end = 0;
	lost_lines = 0;
	pid = getpid();
	log_sink_open();
}

bool
log_enabled(enum log_severity severity)
{
	return severity >= least_severity;
}

void
log_write(enum log_severity severity, const struct log_field *fields, size_t count,
    const char *format, ...)
{
	va_list arguments;

	if (!log_enabled(severity))
		return;
	va_start(arguments, format);
	write_event(severity, fields, count, format, arguments);
	va_end(arguments);
	if (severity >= SEVERITY_WARNING)
		log_flush();
}

static void
write_event(enum log_severity severity, const struct log_field *fields, size_t count,
    const char *format, va_list arguments)
{
	char message[LOG_LINE_SIZE];
	int saved_errno = errno;

	vsnprintf(message, sizeof(message), format, arguments);
	gather(severity, fields, count, message);
	errno = saved_errno;
}

static void
gather(
    enum log_severity severity, const struct log_field *fields, size_t count, const char *message)
{
	char line[LOG_LINE_SIZE];
	struct log_event event = {
		.wall_ms = clock_wall_ms(),
		.severity = severity,
		.process = process_name,
		.message = message,
		.fields = fields,
		.field_count = count,
	};
	size_t length;

	if (pid == 0)
		pid = getpid();
	event.pid = pid;
	length = log_line_format(line, line_format, &event);
	if (!make_room(length)) {
		lost_lines++;
		return;
	}
	memcpy(backlog + backlog_end, line, length);
	backlog_end += length;
}

static bool
make_room(size_t bytes)
{
	if (BACKLOG_BYTES - backlog_end >= bytes)
		return true;
	log_flush();
	memmove(backlog, backlog + backlog_start, backlog_end - backlog_start);
	backlog_end -= backlog_start;
	backlog_start = 0;
	return BACKLOG_BYTES - backlog_end >= bytes;
}

void
log_flush(void)
{
	int saved_errno = errno;
	bool wrote = false;

	while (backlog_start < backlog_end && write_piece())
		wrote = true;
	if (backlog_start == backlog_end) {
		backlog_start = backlog_end = 0;
		if (wrote && lost_lines > 0)
			report_lost_lines();
	}
	errno = saved_errno;
}

/* false: nothing more goes out for now. */
static bool
write_piece(void)
{
	ssize_t written = log_sink_write(backlog + backlog_start, piece_length());

	if (written >= 0) {
		backlog_start += (size_t)written;
		return written > 0;
	}
	if (errno == EINTR)
		return true;
	/* A slow reader and a full disk may get better; a reader who is gone does not come back. */
	if (errno != EAGAIN && errno != ENOSPC && errno != EDQUOT)
		drop_backlog();
	return false;
}

/* As many whole lines as a pipe takes in one piece. The rest of a line that was cut short goes first. */
static size_t
piece_length(void)
{
	const char *start = backlog + backlog_start;
	size_t most = backlog_end - backlog_start;
	const char *last_newline;

	if (most <= LOG_SINK_BYTES_MAX)
		return most;
	last_newline = memrchr(start, '\n', LOG_SINK_BYTES_MAX);
	return last_newline ? (size_t)(last_newline - start) + 1 : LOG_SINK_BYTES_MAX;
}

static void
drop_backlog(void)
{
	for (size_t i = backlog_start; i < backlog_end; i++)
		lost_lines += backlog[i] == '\n';
	backlog_start = backlog_end;
}

/* The backlog is empty, so there is room. */
static void
report_lost_lines(void)
{
	char message[80];

	snprintf(message, sizeof(message), "%llu log lines lost: the reader was slow",
	    (unsigned long long)lost_lines);
	lost_lines = 0;
	gather(SEVERITY_WARNING, NULL, 0, message);
	write_piece();
}

void
fatal(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	end_process(1, format, arguments);
}

void
fatal_configuration(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	end_process(2, format, arguments);
}

/* _exit(): in an unknown state no handler of anybody's may run, least of all in a child. */
static void
end_process(int status, const char *format, va_list arguments)
{
	fflush(stdout);
	write_event(SEVERITY_CRITICAL, NULL, 0, format, arguments);
	log_flush();
	_exit(status);
}
