/*
 * probes: what load balancers, container platforms and people ask to learn how this instance is.
 */
#include <string.h>

#include "common/valkey.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

static text_fn live_known;
static text_fn ready_known;

/* `mirror`: "ready", "empty" (a reseed is due), or "unknown" while Valkey is away. */
static outcome
probe_reply(struct request *r, int http_status, const char *status, const char *mirror)
{
	struct json_writer *writer = json_writer_new(&r->arena);

	json_object(writer);
	json_put_string(writer, "status", status);
	json_put_string(writer, "postgres", pg_is_up(r->worker->pg) ? "up" : "down");
	json_put_string(writer, "valkey", valkey_is_up(r->worker->valkey) ? "up" : "down");
	json_put_string(writer, "mirror", mirror);
	json_close(writer);
	return reply_json(r, http_status, json_text(writer, NULL));
}

/* GET /livez: the process answers, whatever else is broken. */
outcome
probe_live(struct request *r)
{
	return mirror_read_state(r, live_known);
}

static outcome
live_known(struct request *r, const char *mirror)
{
	return probe_reply(r, 200, "ok", mirror);
}

/*
 * GET /readyz: should traffic come here?  With one of the two servers away it should, as heartbeats or
 * fallbacks still work.
 */
outcome
probe_ready(struct request *r)
{
	return mirror_read_state(r, ready_known);
}

static outcome
ready_known(struct request *r, const char *mirror)
{
	bool postgres = pg_is_up(r->worker->pg), valkey = valkey_is_up(r->worker->valkey);

	if (r->worker->draining)
		return probe_reply(r, 503, "draining", mirror);
	if (!postgres && !valkey)
		return probe_reply(r, 503, r->worker->was_up ? "unavailable" : "starting", mirror);
	if (!postgres || !valkey || strcmp(mirror, "ready") != 0)
		return probe_reply(r, 200, "degraded", mirror);
	return probe_reply(r, 200, "ok", mirror);
}
