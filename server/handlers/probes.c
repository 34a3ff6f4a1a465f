/*
 * probes: what load balancers, container platforms and people ask to learn how this instance is.
 */
#include <string.h>

#include "common/channel.h"
#include "common/valkey.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

static text_fn live_known;
static text_fn ready_known;
static metrics_fn children_known;

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
 * fallbacks still work.  "degraded" says that someone should look: a server or the mirror is away, or a child of
 * ours crashes again and again.
 */
outcome
probe_ready(struct request *r)
{
	return mirror_read_state(r, ready_known);
}

static outcome
ready_known(struct request *r, const char *mirror)
{
	r->answer = request_keep(r, mirror);
	return master_ask_metrics(r, children_known);
}

/* A child that crashes again and again is the master's knowledge; should it not answer, nothing is said of that. */
static outcome
children_known(struct request *r, const struct channel_metrics *metrics)
{
	bool postgres = pg_is_up(r->worker->pg), valkey = valkey_is_up(r->worker->valkey);
	bool crashing = metrics != NULL && metrics->children_backing_off > 0;

	if (r->worker->draining)
		return probe_reply(r, 503, "draining", r->answer);
	if (!postgres && !valkey)
		return probe_reply(
		    r, 503, r->worker->was_up ? "unavailable" : "starting", r->answer);
	if (!postgres || !valkey || crashing || strcmp(r->answer, "ready") != 0)
		return probe_reply(r, 200, "degraded", r->answer);
	return probe_reply(r, 200, "ok", r->answer);
}
