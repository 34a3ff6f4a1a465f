/*
 * configuration: the operators' settings in app_config.
 *
 * A change is committed, published to every process of every instance, and the snapshot that was
 * computed with the old values is dropped; see limits.c for the receiving end.
 */
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

static rows_fn configuration_committed;

/* GET /internal/config */
outcome
configuration_get(struct request *r)
{
	return db_call(r, SQL_CONFIG_GET, NO_ARGS, reply_answer);
}

/* PATCH /internal/config {key: value, …}: all of it or nothing. */
outcome
configuration_patch(struct request *r)
{
	return db_call(
	    r, SQL_CONFIG_PATCH, ARGS(body_json(r), BY_OPERATOR(r)), configuration_committed);
}

/* The names of the body's members, as a JSON array. */
static const char *
changed_keys(struct request *r)
{
	struct json_writer *writer = json_writer_new(&r->arena);

	json_array(writer);
	for (const struct json *member = r->body->first; member != NULL; member = member->next)
		json_string(writer, member->key);
	json_close(writer);
	return json_text(writer, NULL);
}

static outcome
configuration_committed(struct request *r, const struct rows *rows)
{
	r->answer = request_keep(r, rows_text(rows, "answer"));
	return config_publish(r, changed_keys(r), reply_kept);
}
