/*
 * audit: GET /internal/audit?actor=&entity=&entity_id=&cursor=&limit=, what operators have changed.
 *
 * The record is written by the SQL functions that make the changes, each in its own transaction
 * (schema/functions/15_audit.sql); nothing but this reads it.
 */
#include <string.h>

#include "common/pg.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

#define PAGE_DEFAULT "50"
#define PAGE_MOST    200

static const char *
actor_asked_for(struct request *r)
{
	const char *actor = request_query(r, "actor", 64);
	char id[UUID_SIZE];

	if (actor == NULL || uuid_parse(actor, strlen(actor), id))
		return actor;
	request_fault(r, "actor", "must be a UUID");
	return NULL;
}

outcome
audit_list(struct request *r)
{
	const char *actor = actor_asked_for(r);
	const char *entity = request_query(r, "entity", 40);
	const char *entity_id = request_query(r, "entity_id", 64);
	const char *cursor = request_query(r, "cursor", 200);
	const char *limit = request_query_limit(r, PAGE_DEFAULT, PAGE_MOST);

	if (request_faults(r) != NULL)
		return reply_faults(r, PROBLEM_INVALID_REQUEST, request_faults(r));
	return db_call(r, SQL_AUDIT_LIST,
	    ARGS(actor, entity, entity_id, cursor, limit, BY_OPERATOR(r)), reply_answer);
}
