/*
 * reply: status line, headers, body, the access line, and the end of the request.
 *
 * Every answer says `no-store`: availability is true only now, and all else is personal.
 */
#include "server/reply.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/series.h"
#include "server/gate/framing.h"
#include "server/reply_wire.h"
#include "server/request.h"
#include "server/routes.h"
#include "server/statuses.h"

/* In the kernel, for each stream: it need not gather for a slow reader what we do not. */
#define STREAM_KERNEL_BYTES 8192

struct problem_row {
	const char *code;
	int status;
	const char *title;
	const char *detail;
	int retry_after_seconds;
};

static const struct problem_row problems[PROBLEMS] = {
#define PROBLEM(code, status, title, detail, retry_after) \
	[PROBLEM_##code] = { #code, status, title, detail, retry_after },
#include "server/problems.def"
#undef PROBLEM
};

static const char *
reason_of(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 201:
		return "Created";
	case 202:
		return "Accepted";
	case 204:
		return "No Content";
	}
	for (size_t i = 0; i < PROBLEMS; i++)
		if (problems[i].status == status)
			return problems[i].title;
	return "Unknown";
}

/* One line for each request. It names the route, never the path: ids and queries do not belong in a log. */
static void
log_access(const struct request *r, int status, int64_t duration_us)
{
	struct log_field fields[] = {
		LOG_NUMBER("status", status),
		LOG_NUMBER("duration_us", duration_us),
		LOG_TEXT("request_id", r->id),
		LOG_TEXT("logging.googleapis.com/trace", r->trace),
	};

	if (!log_enabled(SEVERITY_INFO))
		return;
	log_write(SEVERITY_INFO, fields, r->trace[0] == '\0' ? 3 : 4, "%s %s %d",
	    method_name(evhttp_request_get_command(r->http)),
	    r->route == NULL ? "-" : r->route->path, status);
}

static void
observe(const struct request *r, int status)
{
	int64_t duration_us = clock_monotonic_us() - r->started_us;
	int route = route_index(r->route);

	counters.http_requests++;
	series.statuses[route][status_index(status)]++;
	histogram_observe(&series.routes[route], duration_us);
	log_access(r, status, duration_us);
}

void
reply_header(struct request *r, const char *name, const char *value)
{
	evhttp_add_header(evhttp_request_get_output_headers(r->http), name, value);
}

/*
 * The body, or to HEAD only its length: evhttp 2.1.12 sends any body that it is given, and the client would take it for the
 * beginning of the next answer.
 */
static struct evbuffer *
body_of(struct request *r, const char *text, size_t length)
{
	struct evbuffer *body = evbuffer_new();
	bool is_head = evhttp_request_get_command(r->http) == EVHTTP_REQ_HEAD;

	if (is_head)
		reply_header(r, "Content-Length", arena_printf(&r->arena, "%zu", length));
	if (body == NULL || (!is_head && evbuffer_add(body, text, length) != 0))
		fatal("out of memory");
	return body;
}

static void
head_of(struct request *r, const char *content_type)
{
	if (content_type != NULL)
		reply_header(r, "Content-Type", content_type);
	reply_header(r, "Cache-Control", "no-store");
	reply_header(r, "X-Request-Id", r->id);
	if (r->worker->draining || framing_should_close(r->http))
		reply_header(r, "Connection", "close");
}

/* By evhttp: what is not of the usual kind. */
static void
send_slowly(struct request *r, const struct wire_answer *answer)
{
	struct evbuffer *body = body_of(r, answer->body, answer->body_length);

	head_of(r, answer->content_type);
	evhttp_send_reply(r->http, answer->status, answer->reason, body);
	evbuffer_free(body);
}

static outcome
reply_send(struct request *r, int status, const char *content_type, const char *text, size_t length)
{
	const struct wire_answer answer = {
		.status = status,
		.reason = reason_of(status),
		.content_type = content_type,
		.request_id = r->id,
		.body = text,
		.body_length = length,
	};

	observe(r, status);
	if (r->worker->draining || framing_should_close(r->http) || !wire_send(r->http, &answer))
		send_slowly(r, &answer);
	request_free(r);
	return step_replied_();
}

outcome
reply_json(struct request *r, int status, const char *json)
{
	return reply_send(r, status, "application/json", json, strlen(json));
}

outcome
reply_text(struct request *r, int status, const char *content_type, const char *text)
{
	return reply_send(r, status, content_type, text, strlen(text));
}

outcome
reply_empty(struct request *r, int status)
{
	return reply_send(r, status, NULL, "", 0);
}

outcome
reply_answer(struct request *r, const struct rows *rows)
{
	return reply_json(r, 200, rows_text(rows, "answer"));
}

outcome
reply_kept(struct request *r)
{
	return reply_json(r, 200, r->answer);
}

outcome
reply_created(struct request *r)
{
	return reply_json(r, 201, r->answer);
}

/*
 * Streams.
 */

bool
reply_stream_begin(struct request *r, const char *content_type)
{
	if (evhttp_request_get_command(r->http) == EVHTTP_REQ_HEAD) {
		(void)reply_text(r, 200, content_type, "");
		return false;
	}
	head_of(r, content_type);
	observe(r, 200); /* now, as how long it goes on says nothing about us */
	framing_set_send_buffer(r->http, STREAM_KERNEL_BYTES);
	evhttp_send_reply_start(r->http, 200, reason_of(200));
	return true;
}

bool
reply_stream_send(struct request *r, const char *text, size_t length, size_t unsent_most)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(r->http);
	struct evbuffer *piece;

	if (connection == NULL)
		return false;
	if (evbuffer_get_length(bufferevent_get_output(
		evhttp_connection_get_bufferevent(connection))) > unsent_most) {
		framing_hang_up(r->http);
		return false;
	}
	piece = evbuffer_new();
	if (piece == NULL || evbuffer_add(piece, text, length) != 0)
		fatal("out of memory");
	evhttp_send_reply_chunk(r->http, piece);
	evbuffer_free(piece);
	return true;
}

void
reply_stream_end(struct request *r)
{
	evhttp_send_reply_end(r->http);
	request_free(r);
}

/* `members` is ours, so it is a JSON object; were it not, the problem would still be told. */
static void
put_members(struct request *r, struct json_writer *writer, const char *members)
{
	const char *error;
	const struct json *object = members == NULL
					? NULL
					: json_parse(&r->arena, members, strlen(members), &error);

	if (object == NULL || object->type != JSON_OBJECT)
		return;
	for (const struct json *member = object->first; member != NULL; member = member->next) {
		json_key(writer, member->key);
		json_value(writer, member);
	}
}

outcome
reply_problem_more(struct request *r, enum problem number, struct problem_more more)
{
	const struct problem_row *problem = &problems[number];
	int retry_after_seconds = more.retry_after_seconds > 0 ? more.retry_after_seconds
							       : problem->retry_after_seconds;
	struct json_writer *writer = json_writer_new(&r->arena);
	size_t length;
	const char *text;

	json_object(writer);
	json_put_string(writer, "type", "about:blank");
	json_put_string(writer, "title", problem->title);
	json_put_integer(writer, "status", problem->status);
	json_put_string(writer, "code", problem->code);
	json_put_string(writer, "detail", more.detail != NULL ? more.detail : problem->detail);
	json_put_string(writer, "request_id", r->id);
	if (more.errors != NULL) {
		json_key(writer, "errors");
		json_raw(writer, more.errors);
	}
	put_members(r, writer, more.members);
	if (retry_after_seconds > 0) {
		json_put_integer(writer, "retry_after_seconds", retry_after_seconds);
		reply_header(r, "Retry-After", arena_printf(&r->arena, "%d", retry_after_seconds));
	}
	if (problem->status == 401)
		reply_header(r, "WWW-Authenticate", "Bearer");
	json_close(writer);
	text = json_text(writer, &length);
	return reply_send(r, problem->status, "application/problem+json", text, length);
}

outcome
reply_problem(struct request *r, enum problem problem, const char *detail)
{
	return reply_problem_more(r, problem, (struct problem_more){ .detail = detail });
}

outcome
reply_faults(struct request *r, enum problem problem, const char *errors)
{
	return reply_problem_more(r, problem, (struct problem_more){ .errors = errors });
}

outcome
reply_problem_named(struct request *r, const char *code, struct problem_more more)
{
	for (size_t i = 0; i < PROBLEMS; i++)
		if (strcmp(problems[i].code, code) == 0)
			return reply_problem_more(r, (enum problem)i, more);
	log_event(SEVERITY_ERROR, LOG_FIELDS(LOG_TEXT("request_id", r->id)),
	    "a SQL function names a problem that problems.def does not know: %s", code);
	return reply_problem(r, PROBLEM_INTERNAL_ERROR, NULL);
}
