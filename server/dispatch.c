/*
 * dispatch: the guards that every request passes, outermost first.  Each answers by itself or lets the
 * request go on to the next; the last one calls the handler.
 */
#include "server/dispatch.h"

#include <string.h>
#include <strings.h>

#include <event2/buffer.h>
#include <event2/http.h>
#include <openssl/crypto.h>

#include "common/config.h"
#include "server/cors.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"
#include "server/sign_in/token.h"

static outcome guard_caller(struct request *);
static outcome guard_role(struct request *);
static outcome guard_body(struct request *);

static outcome
reply_options(struct request *r, unsigned methods)
{
	const char *allow = routes_allow(&r->arena, methods);

	reply_header(r, "Allow", allow);
	cors_preflight(r, allow);
	return reply_empty(r, 204);
}

static outcome
guard_route(struct request *r)
{
	enum evhttp_cmd_type method = evhttp_request_get_command(r->http);
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(r->http));
	struct route_match match = routes_find(
	    r->listener, method, path == NULL ? "" : path, r->worker->config->enable_test_routes);

	if (match.methods == 0)
		return reply_problem(r, PROBLEM_NOT_FOUND, NULL);
	if (method == EVHTTP_REQ_OPTIONS)
		return reply_options(r, match.methods);
	if (match.route == NULL) {
		reply_header(r, "Allow", routes_allow(&r->arena, match.methods));
		return reply_problem(r, PROBLEM_METHOD_NOT_ALLOWED, NULL);
	}
	r->route = match.route;
	for (int i = 0; i < match.id_count; i++)
		r->ids[i] = request_keep(r, match.ids[i]);
	if (r->route->caller == FOR_ANYONE || r->route->caller == FOR_TESTER)
		return guard_body(r);
	/* A token that is no good is refused even so: its owner would sign in as somebody new and lose the history. */
	if (r->route->caller == FOR_VISITOR && request_header(r, "Authorization") == NULL)
		return guard_body(r);
	return guard_caller(r);
}

static outcome
guard_caller(struct request *r)
{
	const char *authorization = request_header(r, "Authorization");

	if (authorization == NULL || strncasecmp(authorization, "Bearer ", 7) != 0)
		return reply_problem(r, PROBLEM_UNAUTHENTICATED, NULL);
	authorization += strspn(authorization + 6, " ") + 6;
	switch (token_verify(r->worker->token_keys, authorization, &r->caller)) {
	case TOKEN_INVALID:
		return reply_problem(r, PROBLEM_UNAUTHENTICATED, NULL);
	case TOKEN_PAST:
		return reply_problem(r, PROBLEM_TOKEN_EXPIRED, NULL);
	case TOKEN_VALID:
		break;
	}
	return guard_role(r);
}

static outcome
guard_role(struct request *r)
{
	enum user_type wanted = r->route->caller == FOR_MITRA      ? USER_MITRA
				: r->route->caller == FOR_CUSTOMER ? USER_CUSTOMER
				: r->route->caller == FOR_VISITOR  ? USER_CUSTOMER
								   : USER_OPERATOR;

	if (r->caller.type != wanted)
		return reply_problem(r, PROBLEM_WRONG_USER_TYPE, NULL);
	if (r->route->caller == FOR_ADMIN && r->caller.role != OPERATOR_ADMIN)
		return reply_problem(r, PROBLEM_FORBIDDEN, NULL);
	return guard_body(r);
}

/* "application/json", with or without parameters such as a charset. */
static bool
is_json(const char *content_type)
{
	size_t length;

	if (content_type == NULL)
		return false;
	length = strcspn(content_type, "; \t");
	return length == strlen("application/json") &&
	       strncasecmp(content_type, "application/json", length) == 0;
}

static outcome
guard_body(struct request *r)
{
	struct evbuffer *buffer = evhttp_request_get_input_buffer(r->http);
	size_t length = evbuffer_get_length(buffer);
	const struct json *json;
	unsigned char *text;
	const char *error;

	if (length == 0 && !body_is_needed(r->route->body))
		return r->route->handler(r);
	if (length == 0)
		return reply_problem(r, PROBLEM_INVALID_JSON, "A JSON body is needed.");
	if (!is_json(request_header(r, "Content-Type")))
		return reply_problem(r, PROBLEM_UNSUPPORTED_MEDIA_TYPE, NULL);
	text = evbuffer_pullup(buffer, -1);
	json = json_parse(&r->arena, (const char *)text, length, &error);
	/* What the body holds of secrets is in the request's arena now. */
	OPENSSL_cleanse(text, length);
	if (json == NULL)
		return reply_problem(r, PROBLEM_INVALID_JSON, error);
	if (!body_check(r, r->route->body, json))
		return reply_faults(r, PROBLEM_INVALID_REQUEST, request_faults(r));
	return r->route->handler(r);
}

void
dispatch(struct worker *worker, struct evhttp_request *http, enum boot_listener_kind listener)
{
	struct request *r = request_new(worker, http, listener);

	if (listener == LISTENER_INTERNAL)
		cors_headers(r, request_header(r, "Origin"));
	(void)guard_route(r);
}
