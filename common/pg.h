/*
 * pg: PostgreSQL from an event loop.
 *
 * A pool of a few connections, each in libpq's pipeline mode: every statement of the process's table is prepared once per
 * connection, then each execution is followed by its own sync, so that no request fails by another's error and
 * many share one connection.  Every submission has a deadline (DATABASE_TIMEOUT_MS, waiting in the queue included) and
 * ends in exactly one callback, never from within pg_submit() itself.  A connection on which a deadline passed is closed
 * and never used again, and what else was in flight on it ends as PG_UNAVAILABLE; what was not yet sent waits on.
 *
 * While no connection can be made, submissions fail at once; reconnecting goes on with jittered back-off of at most 1 s,
 * so that service is back within 2 s of the server's return.
 */
#ifndef COMMON_PG_H
#define COMMON_PG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct evdns_base;
struct config;
struct pg;

/* One row of a process's statements.def. */
struct pg_statement {
	const char *name; /* the server-side name, "mitra_go_online" */
	const char *sql;
	int parameters;
};

enum pg_status {
	PG_OK,
	PG_FAILED,      /* the server refused the statement: rows_sqlstate() and rows_error() */
	PG_UNAVAILABLE, /* no connection, or it broke: the statement may or may not have run */
	PG_TIMEOUT,     /* DATABASE_TIMEOUT_MS passed: the statement may or may not have run */
	PG_OVERLOADED,  /* the queue is too slow or too large for it: the statement has not run */
};

/*
 * The rows of one result. Borrowed by a callback until it returns. All values in text form; NULL is SQL's null.
 * A row beyond the last reads as null.
 */
struct rows;

int rows_count(const struct rows *);
/* The value in that row of the column by that name, which must exist (else fatal: a programmer's error). */
const char *rows_text_at(const struct rows *, int row, const char *column);
int64_t rows_integer_at(const struct rows *, int row, const char *column); /* 0 for null */
bool rows_flag_at(const struct rows *, int row, const char *column);       /* false for null */
/* The same of row 0. */
const char *rows_text(const struct rows *, const char *column);
int64_t rows_integer(const struct rows *, const char *column);
bool rows_flag(const struct rows *, const char *column);
bool rows_has_column(const struct rows *, const char *column);
const char *rows_sqlstate(const struct rows *); /* of PG_FAILED; "" otherwise */
const char *rows_error(const struct rows *);    /* the server's primary message; "" otherwise */

/* rows is NULL unless PG_OK or PG_FAILED. */
typedef void pg_done_fn(void *argument, enum pg_status, const struct rows *);

/*
 * Connects in the background; call after fork().  The statement table and the configuration must outlive the pool.
 * `connections` at least 1.
 */
struct pg *pg_new(struct event_base *, struct evdns_base *, const struct config *, int connections,
    const struct pg_statement *, size_t statements);
/* Ends the connections for good: what is pending ends as PG_UNAVAILABLE, and so does all that is submitted from now on. */
void pg_close(struct pg *);
/*
 * Closes; what is pending ends as PG_UNAVAILABLE first.  Its callbacks run in here, and what they submit ends
 * likewise.  Not to be called from a callback.
 */
void pg_free(struct pg *);

/*
 * The program's own stamp (schema/migrate.h).  Connections to a database whose version is older are given up, as if the server
 * were away, with "run `mitrad migrate`" for the reason.  A newer one is served: with several instances the first to be
 * upgraded migrates.  Call it right after pg_new(); the stamp must outlive the pool.
 */
void pg_require_schema(struct pg *, const char *stamp);
/* Was that so at the last attempt? */
bool pg_is_outdated(const struct pg *);

/* `statement` indexes the table. Arguments are copied; a NULL is SQL's null. */
void pg_submit(struct pg *, int statement, int arguments, const char *const *values, pg_done_fn *,
    void *argument);

/* Is at least one connection ready now? */
bool pg_is_up(const struct pg *);
/* Why not, for a log line or a person: the last connection's error, "" if none. */
const char *pg_last_error(const struct pg *);
/* Statements submitted and not yet called back. */
size_t pg_pending(const struct pg *);

/*
 * For processes that do one thing at a time: submits and runs the event loop until the answer is there.  *rows is owned by
 * the caller, rows_free() it; NULL unless PG_OK or PG_FAILED.  Never call it from a callback.
 */
enum pg_status pg_wait(struct pg *, int statement, int arguments, const char *const *values,
    struct rows **) __attribute__((warn_unused_result));
/* The same in two parts, to do something else meanwhile.  Each question must be answered once, which frees it. */
struct pg_question *pg_ask(struct pg *, int statement, int arguments, const char *const *values)
    __attribute__((warn_unused_result));
enum pg_status pg_answer(struct pg_question *, struct rows **) __attribute__((warn_unused_result));
void rows_free(struct rows *);

const char *pg_status_text(enum pg_status); /* "unavailable", for log lines */

#endif
