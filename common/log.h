/*
 * log: one line per event on stdout (of a command: on stderr), JSON for machines or text for people.
 *
 * Lines are gathered in the process and written by log_flush(), which the event loops call once a turn;
 * WARNING and above go out at once.  Nothing here ever blocks: a reader that is slow or gone costs lines,
 * which are counted and reported when it is back.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_severity {
	SEVERITY_DEBUG,
	SEVERITY_INFO,
	SEVERITY_WARNING,
	SEVERITY_ERROR,
	SEVERITY_CRITICAL,
};

enum log_format {
	FORMAT_JSON,
	FORMAT_TEXT,
};

/*
 * An extra member of the line: text when it is not NULL, else the number. Build them with LOG_TEXT and
 * LOG_NUMBER.
 */
struct log_field {
	const char *name;
	const char *text;
	int64_t number;
};

#define LOG_TEXT(name, value)   log_field_text((name), (value))
#define LOG_NUMBER(name, value) log_field_number((name), (value))

static inline struct log_field
log_field_text(const char *name, const char *text)
{
	return (struct log_field){ .name = name, .text = text ? text : "" };
}

static inline struct log_field
log_field_number(const char *name, int64_t number)
{
	return (struct log_field){ .name = name, .number = number };
}

/* Before log_init() lines go out as text from severity INFO up. */
void log_init(enum log_severity least, enum log_format);
/* For a command, whose stdout is its result: lines go to stderr. Before log_init(). */
void log_to_stderr(void);
/* The `process` member of every later line: "master", "worker-0", "sweeper". Copied. */
void log_set_process(const char *name);
/* After fork(): drops what the parent had gathered, and notes the new pid. */
void log_after_fork(void);
bool log_enabled(enum log_severity);
void log_flush(void);

void log_write(enum log_severity, const struct log_field *, size_t fields, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* log_event(SEVERITY_INFO, LOG_FIELDS(LOG_TEXT("route", x), LOG_NUMBER("status", 200)), "message %d", 1) */
#define LOG_FIELDS(...)                        \
	((struct log_field[]){ __VA_ARGS__ }), \
	    (sizeof((struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field))
#define log_event(severity, fields, ...) log_write((severity), fields, __VA_ARGS__)
#define log_debug(...)                   log_write(SEVERITY_DEBUG, NULL, 0, __VA_ARGS__)
#define log_info(...)                    log_write(SEVERITY_INFO, NULL, 0, __VA_ARGS__)
#define log_warning(...)                 log_write(SEVERITY_WARNING, NULL, 0, __VA_ARGS__)
#define log_error(...)                   log_write(SEVERITY_ERROR, NULL, 0, __VA_ARGS__)
#define log_critical(...)                log_write(SEVERITY_CRITICAL, NULL, 0, __VA_ARGS__)

/*
 * Logs CRITICAL, flushes, and ends the process: fatal() with 1 (respawn me), fatal_configuration() with 2 (do
 * not).
 */
_Noreturn void fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fatal_configuration(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
