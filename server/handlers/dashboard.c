/*
 * dashboard: GET /internal/dashboard, the numbers of the moment for the control center, and
 * GET /internal/dashboard/stream, the same once a second as server-sent events.
 */
#include "server/dashboard.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

static text_fn dashboard_known;

outcome
dashboard_get(struct request *r)
{
	return dashboard_ask(r, dashboard_known);
}

static outcome
dashboard_known(struct request *r, const char *json)
{
	return reply_json(r, 200, json);
}

outcome
dashboard_stream(struct request *r)
{
	return dashboard_follow(r);
}
