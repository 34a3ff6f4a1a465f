/*
 * request: one request from its dispatch to its one reply.
 *
 * Owner: dispatch makes it, the reply ends it.  Whatever lives in it or in its arena is gone after the
 * reply.  The client may leave in between; nothing here notices or cares, the reply is then dropped by
 * evhttp.
 */
#ifndef SERVER_REQUEST_H
#define SERVER_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/json.h"
#include "common/mirror.h"
#include "server/request_id.h"
#include "server/step.h"
#include "server/uuid.h"
#include "server/worker.h"

struct event_wait;
struct evhttp_request;
struct fault;
struct route;
struct rows;

#define TRACE_SIZE 33 /* 32 hexadecimal digits and a NUL */

enum user_type {
	USER_NONE,
	USER_MITRA,
	USER_CUSTOMER,
	USER_OPERATOR,
};

enum operator_role {
	OPERATOR_NOT,
	OPERATOR_AGENT,
	OPERATOR_ADMIN,
};

/* Who calls, as the access token says. */
struct caller {
	enum user_type type;
	enum operator_role role;    /* of an operator */
	char id[UUID_SIZE];         /* "" if nobody said who he is */
	char session_id[UUID_SIZE]; /* "" if the token names none */
};

struct request {
	struct worker *worker;
	struct evhttp_request *http;
	const struct route *route;
	struct arena arena;
	struct caller caller;
	const char *fields;      /* what framing_fields() gave, with a NUL in place of each CR */
	const char *ids[2];      /* the ids in the path, in order */
	const struct json *body; /* NULL if there was none; else what the route's body promises */
	struct fault *faults;    /* in the query or the body */
	const char *answer;      /* kept by one step for a later one */
	enum boot_listener_kind listener;
	bool origin_allowed; /* a browser's page of ours is asking; see cors.h */
	int64_t started_us;

	/* Kept by one step of a sign-in, or of a password's change, for a later one. */
	const char *operator_id;
	const char *attempt_email; /* whose attempt is counted as failed; NULL: nobody's */
	const char *password_hash; /* of the present password; NULL: nobody has it */
	const char *new_password;  /* if we made it up */

	int rate;             /* enum rate, while rate_limit() asks for it */
	const char *rate_key; /* whose bucket */
	const char *key_id;   /* of the ID token, while its provider is asked for the key */

	/* Where the chain goes on: owned by step.c. */
	union step_next next;
	union step_next fallback;
	struct step_call call;
	struct mirror_state *written; /* the states under way to the mirror */
	size_t written_count;
	int publishing;              /* batches of transition_publish() that are under way */
	struct mirror_totals totals; /* kept by one step for a later one */
	bool totals_known;
	bool has_place;                /* in the queue of passwords */
	struct event_wait *event_wait; /* NULL: it does not wait for events */
	struct request *sharing;       /* the next one in the same flight or batch */

	char id[REQUEST_ID_SIZE];
	char trace[TRACE_SIZE]; /* the load balancer's trace id, "" if it sent none */
};

struct request *request_new(struct worker *, struct evhttp_request *, enum boot_listener_kind);
void request_free(struct request *);

/* A copy that lives as long as the request. */
const char *request_keep(struct request *, const char *);

/* The first field that the client sent under that name; NULL if it did not. */
const char *request_header(const struct request *, const char *name);
/* The next one after that value. */
const char *request_header_after(const char *value, const char *name);

/* The auth session of the caller's token, for SQL; NULL if it names none. */
const char *request_session(const struct request *);
/* The caller's id, likewise; NULL if nobody said who he is. */
const char *request_caller(const struct request *);

/*
 * A query parameter, decoded; NULL if it is not there.  A value that is longer than `longest` bytes or
 * no clean text (UTF-8 without control characters) is noted in the request's faults; handlers ask
 * request_faults() once they have read all.
 */
const char *request_query(struct request *, const char *name, size_t longest);
/* "true" or "false", as PostgreSQL writes them; NULL if it is not there. */
const char *request_query_flag(struct request *, const char *name);
/* The parameter `limit`, 1 to `most`; `otherwise` if it is not there. */
const char *request_query_limit(struct request *, const char *otherwise, int most);

/* A whole number from 0 to `most`, as it was written; `otherwise` if it is not there. */
const char *
request_query_number(struct request *, const char *name, const char *otherwise, int64_t most);

/* The faults that were found so far, as the JSON array `errors` of a problem; NULL if there are none. */
const char *request_faults(struct request *);
void request_fault(struct request *, const char *field, const char *detail);

/* The members of the body; valid after dispatch has checked it. NULL or false if the member is not there. */
const char *body_text(const struct request *, const char *key);
bool body_has(const struct request *, const char *key);
/* All of the checked body as JSON text, for a SQL function. */
const char *body_json(struct request *);

#endif
