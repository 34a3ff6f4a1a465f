/*
 * pg_private: what the files of pg share.
 *
 *   pg.c             the pool: submissions, deadlines, callbacks
 *   pg_queue.c       what waits to be sent, and which connection takes the next
 *   pg_connection.c  one connection's life: wait, resolve, connect, prepare, ready, lost
 *   pg_address.c     the server's name to addresses, without blocking
 *   pg_pipeline.c    what happens on the wire: statements out, results in, what an error means
 *   pg_rows.c        reading results
 *
 * A submission is in exactly one list at a time: the pool's `queue` (not sent), a connection's `flight`
 * (sent), or the pool's `ended` (its outcome is known and is not an answer; the callback comes in the
 * next turn of the loop). Callbacks run in two places only: for answers, in pg_pipeline.c where the
 * result is settled, and for all else, from `ended`.
 */
#ifndef COMMON_PG_PRIVATE_H
#define COMMON_PG_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <libpq-fe.h>

#include "common/pg.h"

#define PG_QUEUE_BYTES_MOST ((size_t)16 << 20)
/* Enough to keep a server busy that is a millisecond away; whoever is behind a slow one has few to share his lot. */
#define PG_FLIGHT_MOST      16
#define PG_ADDRESS_MOST     8
/* Before clients: the server is kept busy, however many of them ask or must be refused. */
#define PG_PRIORITY         0

struct pg_lookup;

struct pg_submission {
	STAILQ_ENTRY(pg_submission) link;
	int64_t submitted_us; /* monotonic */
	int64_t
	    deadline_ms; /* monotonic; the same span for all, so that every list is in order of deadlines */
	pg_done_fn *done;
	void *argument;
	enum pg_status status; /* in `ended` only */
	int statement;
	bool slow; /* as was expected when it was sent */
	int arguments;
	size_t bytes;         /* of this allocation */
	const char *values[]; /* their bytes follow, in the same allocation */
};

STAILQ_HEAD(pg_list, pg_submission);

enum link_state {
	LINK_WAITING,    /* no connection; `timer` runs until the next attempt */
	LINK_RESOLVING,  /* `lookup` is under way */
	LINK_CONNECTING, /* PQconnectPoll() waits for the socket */
	LINK_PREPARING,  /* settings and statements are sent, their results awaited */
	LINK_READY,      /* serves */
};

/*
 * In the three states between WAITING and READY an attempt is under way, and `timer` ends it if the
 * server is silent.
 */
struct pg_connection {
	struct pg *pool;
	enum link_state state;
	bool failed; /* the last attempt failed; since then it has not been ready */
	bool unflushed;
	PGconn *wire;          /* NULL while WAITING or RESOLVING */
	struct event readable; /* once per wait while CONNECTING, then persistent */
	struct event writable; /* pending while the kernel takes no more */
	struct event timer;
	struct pg_lookup *lookup;
	int64_t attempt_began_ms;
	int64_t ready_since_ms;
	int64_t progress_ms; /* when the head of `flight` became the head */
	int backoff_ms;
	unsigned first_address; /* where the next attempt begins in the list of addresses */

	struct pg_list flight;
	int in_flight;
	int slow_in_flight;
	PGresult *result; /* of the head of `flight`, kept until its sync has come */
	size_t prepared;  /* results that have come while PREPARING */
	int separators;   /* NULLs from PQgetResult() in a row */
	char farewell
	    [256]; /* why the server hung up, as it said or as libpq saw it; "" until then */
};

struct pg {
	struct event_base *base;
	struct evdns_base *dns;
	const struct config *config;
	const struct pg_statement *statements;
	size_t statement_count;
	int64_t *usual_ms;  /* of each statement, at the server; follows what it took lately */
	const char *schema; /* the stamp; "": any will do */
	bool outdated;      /* the database that was met last had an older version */
	bool told_of_functions;
	char *host; /* to be resolved by evdns; NULL: libpq deals with the address itself */

	struct pg_list queue;
	struct pg_list ended;
	size_t queued_bytes;
	size_t pending;    /* submitted and not called back */
	struct event turn; /* sends what is queued; active as soon as there is something to send */
	struct event settle;   /* calls back what is in `ended` */
	struct event deadline; /* pending while anything is queued or in flight */
	bool closing;

	int ready;  /* connections that are READY */
	int failed; /* connections whose `failed` is set; all of them: the pool is down */
	char last_error[512];
	char logged[512]; /* the failure logged last; emptied after steady service */

	int connection_count;
	struct pg_connection connections[];
};

struct rows {
	PGresult *result;
};

/* pg.c */
/*
 * Its outcome is known: takes the submission, which is in no list now, and calls back in the next turn
 * of the loop.
 */
void pg_end(struct pg *, struct pg_submission *, enum pg_status);
/* Calls back now and frees the submission, which is in no list. */
void pg_complete(struct pg *, struct pg_submission *, enum pg_status, const struct rows *);
/* A connection failed or was lost. */
void pg_connections_changed(struct pg *);

/* pg_queue.c */
/* At the end; false if it is refused: it would wait for too long, or there are too many bytes. */
bool pg_queue_add(struct pg *, struct pg_submission *) __attribute__((warn_unused_result));
/* The first, out of it. There must be one. */
struct pg_submission *pg_queue_take(struct pg *);
/* For `turn`: sends what can be sent. */
void pg_queue_turn(evutil_socket_t, short, void *);
/* A connection became ready or has room again, or there is something to send. */
void pg_dispatch_soon(struct pg *);
/* The server took so long for it. */
void pg_queue_learn(struct pg *, int statement, int64_t took_ms);

/* pg_connection.c */
void pg_connection_init(struct pg_connection *, struct pg *);
void pg_connection_free(struct pg_connection *);
/* The addresses of pool->host are known; `error` is NULL, or else why not. */
void pg_connection_resolved(
    struct pg_connection *, const char *hosts, const char *addresses, const char *error);
void pg_connection_ready(struct pg_connection *);
/*
 * Closes it, in any state; what is in flight ends, and the next attempt is set.  `error` may be libpq's
 * own text.
 */
void pg_connection_lost(struct pg_connection *, const char *error);
/* The server is not silent: more time for this attempt. */
void pg_connection_progress(struct pg_connection *);

/* pg_address.c */
/*
 * The host in this conninfo that libpq would have to look up; NULL if there is none or more than one.
 * To be freed.
 */
char *pg_address_host(const char *conninfo);
void pg_address_resolve(struct pg_connection *);
void pg_address_cancel(struct pg_connection *);

/* pg_pipeline.c */
/* The connection is made: sends the session's settings and prepares the table. */
void pg_pipeline_begin(struct pg_connection *);
/* Takes the submission, which is in no list now. May lose the connection. */
void pg_pipeline_send(struct pg_connection *, struct pg_submission *);
void pg_pipeline_flush(struct pg_connection *);

#endif
