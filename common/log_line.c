/*
 * log_line: JSON lines for machines, text lines for people, both made of whatever bytes come.
 *
 * All goes into a buffer of fixed size.  A text is written up to a limit of its own and then cut with an
 * ellipsis; a member that would not fit is taken back as a whole: so whatever is logged, the line is whole,
 * valid and of bounded length.
 */
#include "common/log_line.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/utf8.h"

#define MESSAGE_BYTES_MAX ((size_t)2400)
#define FIELD_BYTES_MAX   ((size_t)1000)
#define END_BYTES         ((size_t)2) /* "}\n" */
#define ELLIPSIS          "\xe2\x80\xa6"
#define REPLACEMENT       "\xef\xbf\xbd" /* U+FFFD, for bytes that are not UTF-8 */

static const char *const severity_names[] = {
	[SEVERITY_DEBUG] = "DEBUG",
	[SEVERITY_INFO] = "INFO",
	[SEVERITY_WARNING] = "WARNING",
	[SEVERITY_ERROR] = "ERROR",
	[SEVERITY_CRITICAL] = "CRITICAL",
};

struct writer {
	char *line;
	size_t length;
	bool full; /* something did not fit */
};

static void write_json(struct writer *, const struct log_event *);
static void write_json_field(struct writer *, const struct log_field *);
static void write_text(struct writer *, const struct log_event *);
static void write_text_field(struct writer *, const struct log_field *);
static void put_field(struct writer *, const struct log_field *,
    void (*write)(struct writer *, const struct log_field *));
static void put_quoted(struct writer *, const char *text, size_t most);
static void put_escaped(struct writer *, const char *text, size_t most, bool quoted);
static size_t escape(const char *text, size_t left, bool quoted, char out[8], size_t *consumed);
static void put_number(struct writer *, int64_t);
static void put(struct writer *, const char *text);
static void put_bytes(struct writer *, const char *bytes, size_t length);

size_t
log_line_format(char line[LOG_LINE_SIZE], enum log_format format, const struct log_event *event)
{
	struct writer writer = { .line = line };

	if (format == FORMAT_JSON)
		write_json(&writer, event);
	else
		write_text(&writer, event);
	line[writer.length++] = '\n';
	return writer.length;
}

static void
write_json(struct writer *w, const struct log_event *event)
{
	char time[CLOCK_ISO_SIZE];
	size_t i;

	clock_iso(event->wall_ms, time);
	put(w, "{\"time\":\"");
	put(w, time);
	put(w, "\",\"severity\":\"");
	put(w, severity_names[event->severity]);
	put(w, "\",\"message\":");
	put_quoted(w, event->message, MESSAGE_BYTES_MAX);
	put(w, ",\"process\":");
	put_quoted(w, event->process, FIELD_BYTES_MAX);
	put(w, ",\"pid\":");
	put_number(w, event->pid);
	for (i = 0; i < event->field_count; i++)
		put_field(w, &event->fields[i], write_json_field);
	w->line[w->length++] = '}';
}

static void
write_json_field(struct writer *w, const struct log_field *field)
{
	put(w, ",");
	put_quoted(w, field->name, FIELD_BYTES_MAX);
	put(w, ":");
	if (field->text)
		put_quoted(w, field->text, FIELD_BYTES_MAX);
	else
		put_number(w, field->number);
}

/* 12:34:56.789 WARNING worker-0[123] message key=value */
static void
write_text(struct writer *w, const struct log_event *event)
{
	char time[CLOCK_ISO_SIZE];
	size_t i;

	clock_iso(event->wall_ms, time);
	put_bytes(w, time + strlen("2026-05-25T"), strlen("10:07:55.123"));
	put(w, " ");
	put(w, severity_names[event->severity]);
	put(w, " ");
	put_escaped(w, event->process[0] ? event->process : "mitrad", FIELD_BYTES_MAX, false);
	put(w, "[");
	put_number(w, event->pid);
	put(w, "] ");
	put_escaped(w, event->message, MESSAGE_BYTES_MAX, false);
	for (i = 0; i < event->field_count; i++)
		put_field(w, &event->fields[i], write_text_field);
}

static void
write_text_field(struct writer *w, const struct log_field *field)
{
	put(w, " ");
	put_escaped(w, field->name, FIELD_BYTES_MAX, false);
	put(w, "=");
	if (!field->text)
		put_number(w, field->number);
	else if (field->text[0] == '\0' || strpbrk(field->text, " \"="))
		put_quoted(w, field->text, FIELD_BYTES_MAX);
	else
		put_escaped(w, field->text, FIELD_BYTES_MAX, false);
}

/* All of the field or nothing of it. */
static void
put_field(struct writer *w, const struct log_field *field,
    void (*write)(struct writer *, const struct log_field *))
{
	size_t before = w->length;

	w->full = false;
	write(w, field);
	if (w->full)
		w->length = before;
}

static void
put_quoted(struct writer *w, const char *text, size_t most)
{
	put(w, "\"");
	put_escaped(w, text, most, true);
	put(w, "\"");
}

/* `most` bounds what is written, the ellipsis apart. */
static void
put_escaped(struct writer *w, const char *text, size_t most, bool quoted)
{
	size_t left = strlen(text);
	size_t written = 0;

	while (left > 0) {
		char out[8];
		size_t consumed;
		size_t length = escape(text, left, quoted, out, &consumed);

		if (written + length > most) {
			put(w, ELLIPSIS);
			return;
		}
		put_bytes(w, out, length);
		written += length;
		text += consumed;
		left -= consumed;
	}
}

/*
 * One character as it stands in the line; its length there. Control characters would forge or break lines in
 * both forms.
 */
static size_t
escape(const char *text, size_t left, bool quoted, char out[8], size_t *consumed)
{
	unsigned char byte = (unsigned char)text[0];

	*consumed = utf8_character(text, left);
	if (*consumed == 0) {
		*consumed = 1;
		memcpy(out, REPLACEMENT, strlen(REPLACEMENT));
		return strlen(REPLACEMENT);
	}
	if (byte < 0x20 || byte == 0x7f)
		return (size_t)snprintf(out, 8, "\\u%04x", byte);
	if (quoted && (byte == '"' || byte == '\\')) {
		out[0] = '\\';
		out[1] = (char)byte;
		return 2;
	}
	memcpy(out, text, *consumed);
	return *consumed;
}

static void
put_number(struct writer *w, int64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, number);
	put(w, text);
}

static void
put(struct writer *w, const char *text)
{
	put_bytes(w, text, strlen(text));
}

static void
put_bytes(struct writer *w, const char *bytes, size_t length)
{
	if (length > LOG_LINE_SIZE - END_BYTES - w->length) {
		w->full = true;
		return;
	}
	memcpy(w->line + w->length, bytes, length);
	w->length += length;
}
