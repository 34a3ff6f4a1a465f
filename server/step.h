/*
 * step: how a request's chain is written.
 *
 * A handler and each step end in exactly one call of this file or of reply.h and return its `outcome`;
 * there is no other way to make one, so a path that forgets to answer does not compile.  The calls
 * deal with their own failures (a database that is away becomes 503, a business problem its
 * problem+json, a mirror that cannot be written a log line), so that a step sees success only.  Rows
 * and texts handed to a step are borrowed until it returns; request_keep() what must outlive it.
 */
#ifndef SERVER_STEP_H
#define SERVER_STEP_H

#include <stdbool.h>
#include <stddef.h>

#include "common/mirror.h"
#include "common/pg.h"

struct channel_metrics;
struct evp_pkey_st;
struct request;
struct worker;

struct outcome {
	enum {
		OUTCOME_WAITING_,
		OUTCOME_REPLIED_,
	} only_step_and_reply_make_one;
};
typedef struct outcome outcome;

typedef outcome step_fn(struct request *);
typedef outcome rows_fn(struct request *, const struct rows *);
typedef outcome text_fn(struct request *, const char *);
typedef outcome flag_fn(struct request *, bool);
typedef outcome key_fn(struct request *, struct evp_pkey_st *);
typedef outcome metrics_fn(struct request *, const struct channel_metrics *);
typedef outcome available_fn(
    struct request *, const struct mirror_available *, size_t, const struct mirror_totals *);

union step_next {
	step_fn *step;
	rows_fn *rows;
	text_fn *text;
	flag_fn *flag;
	key_fn *key;
	available_fn *available;
	metrics_fn *metrics;
};

enum statement {
#define STATEMENT(name, ...) SQL_##name,
#include "server/statements.def"
#undef STATEMENT
	STATEMENTS,
};
extern const struct pg_statement statements[STATEMENTS];

/* What a database call needs to be said again, should PostgreSQL have broken a deadlock at its expense. */
#define STEP_ARGUMENTS_MAX 8
struct step_call {
	const char *what; /* the word for it in log lines: "setOnline", "heartbeat" */
	enum statement statement;
	int arguments;
	const char *values[STEP_ARGUMENTS_MAX];
	int attempts;
};

/* The arguments of a statement, in order; a NULL is SQL's null. NO_ARGS for none. */
#define ARGS(...)                                                        \
	(int)(sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *)), \
	    ((const char *[]){ __VA_ARGS__ })
#define NO_ARGS        0, NULL
/* The three arguments that make SQL's mitrad.actor: who changes something, by which session, in which request. */
#define BY_OPERATOR(r) (r)->caller.id, request_session(r), (r)->id

/*
 * One statement; `next` gets its rows if it succeeded and its column `problem`, if it has one, is
 * null.  A problem is answered with its code and what else the columns `errors`, `retry_after` (seconds) and
 * `members` (a JSON object) say of it.
 */
outcome
db_call(struct request *, enum statement, int arguments, const char *const *values, rows_fn *next);
/* The answer to a statement that did not succeed, for those who wait for one in their own way. */
outcome db_failed(struct request *, enum statement, enum pg_status, const struct rows *);

/*
 * The same for reads without arguments that many requests may ask at once while Valkey is away: at any
 * time one of each runs in this process, and who comes meanwhile shares the next one, so that its rows
 * are never older than the request.
 */
enum flight_kind {
	FLIGHT_COUNT,
	FLIGHT_AVAILABILITY,
	FLIGHTS,
};
outcome db_share(struct request *, enum flight_kind, rows_fn *next);
struct flight *flights_new(struct worker *);

/*
 * Writes the mirror states in the rows, best effort: a failure is logged as "[valkey-mirror] <what>
 * <id> failed: …", and the chain goes on all the same.
 */
outcome mirror_write(struct request *, const char *what, const struct rows *, step_fn *next);

/*
 * The same for a transition of sessions: its events are published behind the states, and the sweeper is woken,
 * for whom there may be a nearer deadline or somebody to match.
 */
outcome transition_publish(struct request *, const char *what, const struct rows *, step_fn *next);

/*
 * Reads of the mirror.  If it is away or empty, that is counted, logged under `what`, and `fallback` goes on
 * instead, to ask the truth.  NULL for `what`: then it does without, and that is no fallback.
 */
outcome mirror_read_snapshot(struct request *, const char *what, text_fn *next, step_fn *fallback);
outcome
mirror_read_available(struct request *, const char *what, available_fn *next, step_fn *fallback);
/* The best `most` of them only; with 0, only the totals. However many there are, it costs the same. */
outcome mirror_read_best(
    struct request *, const char *what, size_t most, available_fn *next, step_fn *fallback);
outcome mirror_read_reachable(
    struct request *, const char *what, const char *id, flag_fn *next, step_fn *fallback);
/* text is NULL if the mirror has no heartbeat, or is away: no fallback is needed then. */
outcome mirror_read_heartbeat(struct request *, const char *id, text_fn *next);

/* How the mirror is: "ready", "empty", or "unknown" while Valkey is away. */
outcome mirror_read_state(struct request *, text_fn *next);

/*
 * The caller's heartbeat: stored in the mirror, or, if that does not know him or is away, asked of the
 * truth together with all the others that this process waits for.  `next` gets whether he is online; a
 * deactivated mitra is answered 403 here.
 */
outcome mitra_beat(struct request *, flag_fn *next);
struct beats *beats_new(struct worker *);

/*
 * Passwords, off the event loop (server/sign_in/hasher.h).  Few requests at a time have a place there: whose
 * work must not begin in vain asks first, and the others take theirs with the first call.  Kept until
 * the reply.  Nothing free: 429.
 */
bool password_place(struct request *) __attribute__((warn_unused_result));
outcome password_place_refused(struct request *);
/* Is that the password of this hash?  NULL: of nobody's; as slow as any, and false. */
outcome password_check(struct request *, const char *password, const char *hash, flag_fn *next);
/* `next` gets the new hash. */
outcome password_make(struct request *, const char *password, text_fn *next);

/* What the master knows of the whole instance; NULL if it does not answer in time. */
outcome master_ask_metrics(struct request *, metrics_fn *next);

/* Tells every process that these keys of app_config changed (a JSON array), and reads them again here. */
outcome config_publish(struct request *, const char *keys, step_fn *next);

/* The two outcomes. Only for those who make a request wait, or reply. */
outcome step_waiting_(void);
outcome step_replied_(void);

#endif
