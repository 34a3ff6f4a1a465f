/*
 * step_cluster: a chain's words with other processes: the master, and by pub/sub everyone else.
 */
#include "common/channel.h"
#include "common/log.h"
#include "common/valkey.h"
#include "server/app_config.h"
#include "server/request.h"
#include "server/step.h"

static void
metrics_arrived(void *argument, const struct channel_metrics *metrics)
{
	struct request *r = argument;

	(void)r->next.metrics(r, metrics);
}

outcome
master_ask_metrics(struct request *r, metrics_fn *next)
{
	r->next.metrics = next;
	channel_ask_metrics(r->worker->channel, metrics_arrived, r);
	return step_waiting_();
}

static void
published(void *argument, const char *error, redisReply *const *replies)
{
	struct request *r = argument;

	if (error != NULL)
		log_event(SEVERITY_WARNING, LOG_FIELDS(LOG_TEXT("request_id", r->id)),
		    "config:invalidate could not be published, other processes learn of it when "
		    "Valkey is back: %s",
		    error);
	(void)r->next.step(r);
}

outcome
config_publish(struct request *r, const char *keys, step_fn *next)
{
	struct valkey_batch *batch = valkey_batch_new(r->worker->valkey);

	r->next.step = next;
	app_config_reload(r->worker->app_config);
	valkey_add(batch, "DEL", "availability:snapshot", NULL);
	valkey_add(batch, "PUBLISH", "config:invalidate",
	    arena_printf(&r->arena, "{\"keys\":%s}", keys), NULL);
	valkey_send(batch, published, r);
	return step_waiting_();
}
