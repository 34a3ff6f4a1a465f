/*
 * sweeper: the process that keeps truth and mirror together, and what its files share.
 *
 * It does one thing at a time.  A pass is linear code, read from top to bottom, that waits for each answer
 * by running the event loop; meanwhile nothing else of this process runs but ticks to the master and what
 * the loop's callbacks note down.
 */
#ifndef SWEEPER_SWEEPER_H
#define SWEEPER_SWEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/arena.h"
#include "common/clock.h"
#include "common/mirror.h"

struct channel;
struct config;
struct event;
struct event_base;
struct evdns_base;
struct payments;
struct pg;
struct rows;
struct valkey;
struct pg_question;
struct valkey_batch;
struct valkey_replies;

enum sweeper_statement {
#define STATEMENT(name, ...) SQL_##name,
#include "sweeper/statements.def"
#undef STATEMENT
};

struct sweeper {
	const struct config *config;
	struct event_base *base;
	struct evdns_base *dns;
	struct pg *pg;
	struct valkey *valkey;
	struct mirror *mirror;
	struct channel *channel;   /* NULL in a command */
	struct payments *payments; /* NULL in a command */
	struct event *alarm;       /* ends sweeper_sleep() */
	bool stopping;             /* TERM: finish the page and go */
	struct event *impatience; /* pending from TERM on: the page must wait for nobody any more */
	char error[256];          /* why the last step failed, for a log line */

	char lease[17];           /* what we write into sweeper:lease */
	bool holds_lease;         /* as of the last watch */
	int64_t lease_renewed_ms; /* monotonic */

	bool reseed_due;     /* something was missed, or the last reseed failed */
	bool reseed_failing; /* so it was logged already */
	bool worker_died;    /* whoever holds the lease must learn of it */
	/* Monotonic; 0: no.  A dead worker's last statement may still be running, so look twice. */
	int64_t reseed_again_ms;
	char seeded[96]; /* the line that the last reseed is worth */

	int64_t deadlines_look_ms; /* monotonic: when to look for due sessions next */

	int64_t clock_offset_ms; /* wall minus monotonic, when it was last looked at */
	/* And it has changed: no stamp in the mirror means anything until everyone has a new one. */
	bool clock_set;
	bool braked; /* the auto-offline tick before this one was stopped by the brake */
};

/* --- sweeper.c --- */

/* Connects. For sweeper_main() and for commands; the configuration must outlive it. */
void sweeper_open(struct sweeper *, const struct config *);
void sweeper_close(struct sweeper *);
/* Runs the loop for so long, or until something happens that the main loop should look at. */
void sweeper_sleep(struct sweeper *, int64_t ms);

/* --- steps.c: what passes are made of. Each returns false, or NULL, and sets s->error if it fails. --- */

/* The caller frees *rows. */
bool sweeper_query(struct sweeper *, enum sweeper_statement, int arguments,
    const char *const *values, struct rows **) __attribute__((warn_unused_result));
/*
 * The same for what changes the mirror's states.  If the connection breaks in between, it may have happened, or happen
 * still, and nobody knows what: then the mirror is reseeded.
 */
bool sweeper_change(struct sweeper *, enum sweeper_statement, int arguments,
    const char *const *values, struct rows **) __attribute__((warn_unused_result));
/* The answer to what pg_ask() has asked, likewise. */
bool sweeper_answer(struct sweeper *, struct pg_question *, struct rows **)
    __attribute__((warn_unused_result));
/* An error reply counts as a failure. The caller frees the replies. */
struct valkey_replies *
sweeper_ask(struct sweeper *, struct valkey_batch *) __attribute__((warn_unused_result));
/* The same for a batch from sweeper_read(), which asks for the generation: MIRROR_EMPTY is a failure. */
struct valkey_batch *sweeper_read(struct sweeper *);
struct valkey_replies *
sweeper_ask_mirror(struct sweeper *, struct valkey_batch *) __attribute__((warn_unused_result));
/* mirror_apply_as() to its end. What was applied and skipped goes into the arena; `applied` may be NULL. */
bool sweeper_apply(struct sweeper *, struct arena *, const struct mirror_state *, size_t,
    struct mirror_how, struct mirror_applied *applied) __attribute__((warn_unused_result));
/* Between two pages: keeps the lease. False: the process is to stop. */
bool sweeper_goes_on(struct sweeper *);

/*
 * All members of a set, or all keys that match a pattern, page by page.  An emptied Valkey has none:
 * whoever draws a conclusion asks for the generation afterwards.
 */
struct sweeper_scan {
	const char *set;     /* NULL: keys */
	const char *pattern; /* of the keys */
	const char *count;   /* about how many a page */
	char cursor[24];     /* "" before the first page */
	const char **found;  /* this page's, copied into the arena */
	size_t count_found;
	bool done; /* it was the last */
};
bool sweeper_scan(struct sweeper *, struct arena *, struct sweeper_scan *)
    __attribute__((warn_unused_result));

bool sweeper_is_uuid(const char *);
/* {a,b,c}: the texts as a PostgreSQL array. They must need no quotes. */
const char *sweeper_array(struct arena *, const char *const *texts, size_t);
/* A command about many: "MGET", NULL, "mitra:heartbeat:", ids, or "SMISMEMBER", "mitras:online", "", ids. */
void sweeper_add_many(struct valkey_batch *, struct arena *, const char *command, const char *first,
    const char *prefix, const char *const *ids, size_t);

/* --- shown.c: what Valkey shows of some mitras --- */

struct shown {
	struct valkey_replies *replies;
};

/* Of at least one. The caller frees it, unless this fails. */
bool shown_read(struct sweeper *, struct arena *, const struct mirror_state *, size_t,
    struct shown *) __attribute__((warn_unused_result));
void shown_free(struct shown *);
/* Is the i-th shown as mirror.lua would show this state of it? */
bool shown_is(const struct shown *, size_t i, const struct mirror_state *);

/* One by one, of the i-th. */
bool shown_online(const struct shown *, size_t i);
bool shown_deactivated(const struct shown *, size_t i);
const char *shown_sessions(const struct shown *, size_t i); /* or "none" */
/* NULL: none, or one that is no time, which counts as none here as everywhere. */
const char *shown_heartbeat(const struct shown *, size_t i);
/* The load by which the index ranks it, or "none"; until the next call. */
const char *shown_rank(const struct shown *, size_t i);
const char *shown_rank_of(const struct mirror_state *); /* by which it should */

/* --- quiet.c: who was not heard of lately, for the mirror's index --- */

struct quiet {
	struct arena arena; /* the caller frees it */
	int64_t cutoff_ms;
	char cutoff[CLOCK_ISO_SIZE];
	const char *ids[MIRROR_SILENT_MOST + 1]; /* one too many: the index cannot be used then */
	size_t count;
};

/* Whoever is heard at the cutoff or later is not quiet. */
bool quiet_begin(struct sweeper *, struct quiet *, int64_t cutoff_ms);
void quiet_note(struct quiet *, const char *id);
bool quiet_end(struct sweeper *, struct quiet *);
/* Everybody online has a heartbeat of then or later. */
bool quiet_all_since(struct sweeper *, int64_t since_ms);

/* --- transition.c: what sessions go through without anybody's asking --- */

enum transition_progress {
	TRANSITION_FAILED,
	TRANSITION_NONE, /* there was nothing to do */
	TRANSITION_MADE,
};

/*
 * A SQL function that moves sessions on: what it changed is shown in the mirror, its events are published, and its problems
 * logged.
 */
enum transition_progress
transition(struct sweeper *, enum sweeper_statement, int arguments, const char *const *values);
/* Publishes the events in the rows: behind the mirror, so whoever acts on one finds it written. */
void transition_tell(struct sweeper *, const struct rows *);

/* --- payments.c --- */

struct payments *payments_new(struct sweeper *);
void payments_free(struct payments *);
/* Asks the providers what there is to ask, as far as there is room. */
void payments_ask(struct sweeper *);
/* Takes up what they have answered. */
void payments_take(struct sweeper *);

/* --- watch.c --- */

/* Once a second: the lease, and whether the mirror needs a reseed now. */
void watch(struct sweeper *);
/* Was the wall clock set, and is not everyone stamped anew yet? */
bool watch_clock_set(struct sweeper *);
void watch_renew_lease(struct sweeper *);
void watch_drop_lease(struct sweeper *);

/* --- passes: true if all went well; what did not is in the log --- */

bool auto_offline(struct sweeper *);
bool heartbeats(struct sweeper *);
bool retention(struct sweeper *);
bool deadlines(struct sweeper *);
/* Has that pass run then, unless it is sooner anyway. */
void deadlines_look_within(struct sweeper *, int64_t ms);

/*
 * All zero is the plain one, which never makes anybody look fresh.
 *
 * listening  if nobody says that he listens to heartbeats, that begins now: workers are about to
 * stamping   if a gap in listening is behind us, everyone online gets a fresh heartbeat, once
 * orphans    also look through all keys for those of mitras who are gone
 */
struct reseed_how {
	bool listening;
	bool stamping;
	bool orphans;
};

/* Sets s->seeded, or s->error. */
bool reseed(struct sweeper *, struct reseed_how) __attribute__((warn_unused_result));
/* The same for the sweeper itself: logs how it went, and if it failed, has it tried again. */
bool reseed_and_log(struct sweeper *, struct reseed_how);

/* --- mend.c: our own keys, should somebody have spoilt them by hand --- */

bool mend(struct sweeper *) __attribute__((warn_unused_result));

/* --- known.c: the ids of all mitras, 16 bytes each --- */

struct known {
	unsigned char (*ids)[16]; /* ascending, as PostgreSQL sends them */
	size_t count, room;
};

/* In ascending order only. */
void known_add(struct known *, const char *id);
bool known_has(const struct known *, const char *id);
void known_free(struct known *);

/* --- orphans.c: what the mirror has of mitras whom the truth does not know --- */

/* Called for each page of ids not in `known`, which may exist by now: ask the truth.  False ends it. */
typedef bool
orphans_fn(struct sweeper *, struct arena *, const char *const *ids, size_t, void *argument);
bool orphans_in_sets(struct sweeper *, const struct known *, orphans_fn *, void *argument)
    __attribute__((warn_unused_result));
bool orphans_in_keys(struct sweeper *, const struct known *, orphans_fn *, void *argument)
    __attribute__((warn_unused_result));
/* Adds those of the ids that the truth has after all. */
bool orphans_ask_truth(struct sweeper *, struct arena *, const char *const *ids, size_t,
    struct known *) __attribute__((warn_unused_result));
/* An orphans_fn that removes them. */
bool orphans_remove(struct sweeper *, struct arena *, const char *const *ids, size_t, void *unused);

/* --- verify.c --- */

/* Compares mirror and truth; prints each difference, unless `out` is NULL.  False: it could not. */
bool verify(struct sweeper *, FILE *out, size_t *differences) __attribute__((warn_unused_result));

#endif
