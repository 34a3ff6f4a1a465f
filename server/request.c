/*
 * request: making and ending one, and reading what the client sent in its query.
 */
#include "server/request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <event2/http.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/utf8.h"
#include "server/gate/framing.h"
#include "server/sign_in/hasher.h"
#include "server/event_waits.h"

/* One wrong thing in the query or the body. */
struct fault {
	struct fault *next;
	const char *field;
	const char *detail;
};

/*
 * W3C traceparent is "00-<32 digits>-…", the older X-Cloud-Trace-Context "<32 digits>/…".  Whatever else
 * stands there is nobody's trace.
 */
static void
trace_take(struct request *r)
{
	const char *parent = request_header(r, "traceparent");
	const char *cloud = request_header(r, "X-Cloud-Trace-Context");
	const char *id = parent != NULL && strncmp(parent, "00-", 3) == 0 ? parent + 3 : cloud;

	if (id != NULL && strspn(id, "0123456789abcdef") == TRACE_SIZE - 1)
		memcpy(r->trace, id, TRACE_SIZE - 1);
}

static void
fields_take(struct request *r)
{
	size_t length;
	const char *lines = framing_fields(r->http, &length);
	char *copy = arena_strndup(&r->arena, lines, length);

	r->fields = copy;
	for (char *end = copy; (end = strchr(end, '\r')) != NULL;)
		*end++ = '\0';
}

struct request *
request_new(struct worker *worker, struct evhttp_request *http, enum boot_listener_kind listener)
{
	struct request *r = calloc(1, sizeof(*r));
	const char *given;

	if (r == NULL)
		fatal("out of memory");
	r->worker = worker;
	r->http = http;
	r->listener = listener;
	r->started_us = clock_monotonic_us();
	fields_take(r);
	given = request_header(r, "X-Request-Id");
	if (given != NULL && request_id_sane(given))
		memcpy(r->id, given, strlen(given) + 1);
	else
		request_id_new(r->id);
	trace_take(r);
	worker->requests_pending++;
	return r;
}

void
request_free(struct request *r)
{
	if (r->event_wait != NULL)
		event_wait_end(r->event_wait);
	r->worker->requests_pending--;
	if (r->has_place)
		hasher_leave_place(r->worker->hasher);
	/* There may be passwords and tokens in it. */
	arena_wipe(&r->arena);
	arena_free(&r->arena);
	free(r);
}

const char *
request_keep(struct request *r, const char *text)
{
	return text == NULL ? NULL : arena_strdup(&r->arena, text);
}

/* An empty field, which no client can send, is the end. */
static const char *
field_find(const char *field, const char *name)
{
	size_t length = strlen(name);

	for (; *field != '\0'; field += strlen(field) + strlen("\r\n"))
		if (strncasecmp(field, name, length) == 0 && field[length] == ':')
			return field + length + 1;
	return NULL;
}

const char *
request_header(const struct request *r, const char *name)
{
	return field_find(r->fields, name);
}

const char *
request_header_after(const char *value, const char *name)
{
	return field_find(value + strlen(value) + strlen("\r\n"), name);
}

const char *
request_session(const struct request *r)
{
	return r->caller.session_id[0] == '\0' ? NULL : r->caller.session_id;
}

const char *
request_caller(const struct request *r)
{
	return r->caller.id[0] == '\0' ? NULL : r->caller.id;
}

void
request_fault(struct request *r, const char *field, const char *detail)
{
	struct fault *fault = arena_alloc(&r->arena, sizeof(*fault));
	struct fault **last = &r->faults;

	while (*last != NULL)
		last = &(*last)->next;
	fault->field = field;
	fault->detail = detail;
	*last = fault;
}

const char *
request_faults(struct request *r)
{
	struct json_writer *writer;

	if (r->faults == NULL)
		return NULL;
	writer = json_writer_new(&r->arena);
	json_array(writer);
	for (const struct fault *fault = r->faults; fault != NULL; fault = fault->next) {
		json_object(writer);
		json_put_string(writer, "field", fault->field);
		json_put_string(writer, "detail", fault->detail);
		json_close(writer);
	}
	json_close(writer);
	return json_text(writer, NULL);
}

/* The raw value of the first parameter by that name; NULL if there is none. */
static const char *
query_find(struct request *r, const char *name, size_t *length)
{
	const char *at = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(r->http));
	size_t name_length = strlen(name);

	while (at != NULL && *at != '\0') {
		size_t pair = strcspn(at, "&");

		if (strncmp(at, name, name_length) == 0 && at[name_length] == '=') {
			*length = pair - name_length - 1;
			return at + name_length + 1;
		}
		at += pair;
		if (*at == '&')
			at++;
	}
	return NULL;
}

static bool
text_is_clean(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	return utf8_valid(text, length);
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * As forms write it: '+' is a blank, %20 too; a '%' that begins nothing stands for itself.
 */
static const char *
query_decode(struct arena *arena, const char *raw, size_t raw_length, size_t *length)
{
	char *text = arena_strndup(arena, raw, raw_length), *to = text;

	for (const char *from = text; from < text + raw_length; from++) {
		bool escaped = *from == '%' && hex_value(from[1]) >= 0 && hex_value(from[2]) >= 0;

		if (escaped) {
			*to++ = (char)(hex_value(from[1]) << 4 | hex_value(from[2]));
			from += 2;
		} else {
			*to++ = *from == '+' ? ' ' : *from;
		}
	}
	*to = '\0';
	*length = (size_t)(to - text);
	return text;
}

const char *
request_query(struct request *r, const char *name, size_t longest)
{
	size_t raw_length, length;
	const char *raw = query_find(r, name, &raw_length);
	const char *kept;

	if (raw == NULL)
		return NULL;
	kept = query_decode(&r->arena, raw, raw_length, &length);
	if (length > longest || !text_is_clean(kept, length)) {
		request_fault(
		    r, name, length > longest ? "is too long" : "is not clean UTF-8 text");
		return NULL;
	}
	return kept;
}

const char *
request_query_flag(struct request *r, const char *name)
{
	const char *value = request_query(r, name, 8);

	if (value == NULL || strcmp(value, "true") == 0 || strcmp(value, "false") == 0)
		return value;
	request_fault(r, name, "must be true or false");
	return NULL;
}

const char *
request_query_number(struct request *r, const char *name, const char *otherwise, int64_t most)
{
	const char *value = request_query(r, name, 20);
	char *end;
	long long number;

	if (value == NULL)
		return otherwise;
	errno = 0;
	number = strtoll(value, &end, 10);
	if (*value >= '0' && *value <= '9' && *end == '\0' && errno == 0 && number <= most)
		return value;
	request_fault(
	    r, name, arena_printf(&r->arena, "must be a number from 0 to %lld", (long long)most));
	return otherwise;
}

const char *
request_query_limit(struct request *r, const char *otherwise, int most)
{
	const char *value = request_query(r, "limit", 8);
	char *end;
	long number;

	if (value == NULL)
		return otherwise;
	number = strtol(value, &end, 10);
	if (*value >= '0' && *value <= '9' && *end == '\0' && number >= 1 && number <= most)
		return value;
	request_fault(r, "limit", arena_printf(&r->arena, "must be a number from 1 to %d", most));
	return otherwise;
}
