/* log_line: makes the one line of an event, JSON or text. Used by log.c only. */
#ifndef COMMON_LOG_LINE_H
#define COMMON_LOG_LINE_H

#include <stddef.h>
#include <stdint.h>

#include "common/log.h"
#include "common/log_sink.h"

#define LOG_LINE_SIZE LOG_SINK_BYTES_MAX /* so that a line never mingles with another process's */

struct log_event {
	int64_t wall_ms;
	enum log_severity severity;
	const char *process; /* "" if not named yet */
	long pid;
	const char *message;
	const struct log_field *fields;
	size_t field_count;
};

/*
 * Its length, the newline included; no NUL. A message that is too long is cut, fields that do not fit are
 * left out.
 */
size_t log_line_format(char line[LOG_LINE_SIZE], enum log_format, const struct log_event *);

#endif
