/*
 * framing_problem: the problems of framing_refusals.def as docs/api.md has them.  All
 * texts are ours and need no escaping.
 */
#include "server/gate/framing_problem.h"

#include <stdio.h>

#include <event2/buffer.h>
#include <event2/util.h>

#include "common/log.h"
#include "server/request_id.h"

#define RETRY_AFTER_SECONDS 1

struct problem {
	int status;
	const char *title;
	const char *code;
	const char *detail;
};

static const struct problem problems[REFUSALS] = {
#define REFUSAL(name, ...) [REFUSAL_##name] = { __VA_ARGS__ },
#include "server/gate/framing_refusals.def"
#undef REFUSAL
};

static int
problem_body(const struct problem *problem, const char *id, char *body, size_t size)
{
	char retry_after[48] = "";

	if (problem->status == 503)
		snprintf(retry_after, sizeof(retry_after), ",\"retry_after_seconds\":%d",
		    RETRY_AFTER_SECONDS);
	return snprintf(body, size,
	    "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"code\":\"%s\",\"detail\":"
	    "\"%s\","
	    "\"request_id\":\"%s\"%s}",
	    problem->title, problem->status, problem->code, problem->detail, id, retry_after);
}

static void
log_access(const struct problem *problem, const char *id)
{
	log_event(SEVERITY_INFO,
	    LOG_FIELDS(LOG_NUMBER("status", problem->status), LOG_TEXT("request_id", id)),
	    "refused %d: %s", problem->status, problem->detail);
}

void
framing_problem(struct evbuffer *out, enum framing_refusal refusal, bool bodiless)
{
	const struct problem *problem = &problems[refusal];
	char id[REQUEST_ID_SIZE], date[64], body[512];
	int length;

	request_id_new(id);
	length = problem_body(problem, id, body, sizeof(body));
	evutil_date_rfc1123(date, sizeof(date), NULL);
	evbuffer_add_printf(out,
	    "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: application/problem+json\r\n"
	    "Content-Length: %d\r\nCache-Control: no-store\r\nX-Request-Id: %s\r\nConnection: "
	    "close\r\n",
	    problem->status, problem->title, date, length, id);
	if (problem->status == 405)
		evbuffer_add_printf(out, "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
	if (problem->status == 503)
		evbuffer_add_printf(out, "Retry-After: %d\r\n", RETRY_AFTER_SECONDS);
	evbuffer_add_printf(out, "\r\n%s", bodiless ? "" : body);
	log_access(problem, id);
}
