/*
 * mirror: the Valkey copy of every mitra's availability.
 *
 * Writing (mirror.c): the truth's transitions return states, and mirror_apply() shows them in Valkey
 * through the one script mirror.lua, which skips a state that is older than what it shows.  Heartbeats alone
 * have a path of their own (mirror_beat.c).  Reading (mirror_read.c, mirror_search.c, mirror_index.c,
 * mirror_snapshot.c): every read carries a look at `mirror:generation`, which exists only while the mirror is
 * complete; so an emptied Valkey is an error, never "nobody is online".
 *
 * Keys besides those of the states (docs/architecture.md):
 *   mirror:generation        random, set at the end of a complete reseed
 *   mirror:seed:<token>      exists while a reseed runs; gone, if Valkey was emptied meanwhile
 *   mirror:alive             since when somebody listens to heartbeats without a break (ISO), EX 10
 *   mirror:stamped           the value of mirror:alive for which everyone online got a fresh heartbeat
 *   mirror:dirty             some state could not be written: the sweeper reseeds
 *   mirror:writers           the processes that write here, each by when it last said so
 *   mirror:config            the app_config that was last published
 *   mirror:changes           counts changes that the beacon must show
 *   mirror:ranking           index: who is online, by load and since when (see mirror_index.c)
 *   mirror:silent            index: who was not heard since mirror:heard
 *   mirror:heard             index: when all others have been heard at the earliest (ISO)
 *   mirror:hearing           what mirror:heard will be after the sweep that is under way (ISO)
 *   mirror:snapshot:lock     who recomputes the beacon's snapshot
 *   mitra:version:<id>       which version of the truth is shown
 *
 * All functions are asynchronous; a callback is called exactly once, and never from within the function
 * that took it.  Its error is for a log line and borrowed until it returns.
 */
#ifndef COMMON_MIRROR_H
#define COMMON_MIRROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"

/* The readers' error when mirror:generation is missing. */
#define MIRROR_EMPTY "the mirror is empty"

/* The states that one script is given: more are applied by several, each atomic. */
#define MIRROR_STATES_MAX 250

/* The score in mirror:ranking is this times the load, plus a time in ms; mirror.lua has it too. */
#define MIRROR_RANK INT64_C(10000000000000)

#define MIRROR_RANK_LAST "899" /* the load by which the deactivated are ranked */

/* The load that is told by a score. */
int mirror_rank_load(const char *score);

/* With more in mirror:silent the index is of no use. */
#define MIRROR_SILENT_MOST 1000

struct event_base;
struct valkey;
struct rows;
struct mirror;

/* Per process, after fork(). Free it after its valkey, whose end calls back what is in flight. */
struct mirror *mirror_new(struct event_base *, struct valkey *);
void mirror_free(struct mirror *);

struct mirror_limits {
	int64_t stale_after_ms; /* app_config stale_after_seconds */
	int max_sessions;       /* app_config max_customers_per_mitra */
};

/* Until called: 90 s and 3, the defaults of app_config. */
void mirror_set_limits(struct mirror *, struct mirror_limits);
struct mirror_limits mirror_limits_of(const struct mirror *);

/* --- writing --- */

/* One mitra as the truth has it. Texts are borrowed from rows or an arena. */
struct mirror_state {
	const char *id;
	const char *version;
	bool online, active;
	const char *sessions;
	const char *heartbeat; /* ISO; NULL if none */
};

/*
 * The states in the columns mitra_id, version, online, active, sessions and heartbeat of every row that has a
 * version, copied into the arena. Returns how many.  (A mitra whom the truth does not know has none.)
 */
size_t mirror_states_of(struct arena *, const struct rows *, struct mirror_state **);

/* error NULL: applied, or rightly skipped. Else the sweeper is told to reseed as soon as Valkey is back. */
typedef void mirror_done_fn(void *argument, const char *error);
void mirror_apply(
    struct mirror *, const struct mirror_state *, size_t, mirror_done_fn *, void *argument);

/*
 * It is not known how a transition ended, and it may commit within so many ms still, so a state may be
 * missing: the sweeper is told, at once and then.
 */
void mirror_suspect(struct mirror *, int64_t within_ms);

/* A state that was skipped, and the newer version that the mirror shows; "": heard after the cutoff. */
struct mirror_skip {
	const char *id;
	const char *version;
};

struct mirror_applied {
	size_t applied;
	size_t skipped;
	const struct mirror_skip *skips; /* borrowed until the callback returns */
};

/*
 * How the sweeper applies its states. All zero: as mirror_apply() does.
 *
 * stamp     whoever is online was heard just now
 * cutoff    ISO or NULL; whoever is to be shown offline but was heard after it is skipped
 * expected  NULL, or per state NULL or the mirror's version that it replaces although that is newer
 */
struct mirror_how {
	bool stamp;
	const char *cutoff;
	const char *const *expected;
};

/* applied is NULL on error. */
typedef void
mirror_applied_fn(void *argument, const char *error, const struct mirror_applied *applied);
void mirror_apply_as(struct mirror *, const struct mirror_state *, size_t, struct mirror_how,
    mirror_applied_fn *, void *argument);

/* For EVAL by the sweeper: forgets mitras whom the truth does not know. Its arguments stand in it. */
extern const char mirror_forget_script[];

/*
 * For a worker that hears heartbeats: says so in mirror:alive. Call it once a second.  The key lives for 10
 * s, so a longer time in which nobody listens, or Valkey cannot be reached, starts a new "alive", for which
 * the sweeper stamps everyone online.
 */
void mirror_listen(struct mirror *);

/*
 * Once a second: this process may write.  Who has not said so for ten seconds, and did not leave, has died, perhaps
 * between a commit and its write: a sweeper sets mirror:dirty (sweeper/watch.c).
 */
void mirror_attend(struct mirror *);

/* Is there something that the mirror may lack, and that mirror:dirty does not stand for yet? */
bool mirror_owes(const struct mirror *);

/* This process ends, and nothing can be committed by it any more.  If it owes something, it stays, to be missed. */
void mirror_leave(struct mirror *);

/* The limits changed: the beacon's snapshot is dropped. */
void mirror_snapshot_bust(struct mirror *);

/* --- reading --- */

enum mirror_beat {
	BEAT_STORED,
	BEAT_UNKNOWN, /* no heartbeat key: ask the truth */
	BEAT_INACTIVE,
};

/* Stores now as the mitra's heartbeat, if it is online; sent together with those of the same turn of the event loop. */
typedef void mirror_beat_fn(void *argument, const char *error, enum mirror_beat);
void mirror_beat(struct mirror *, const char *id, mirror_beat_fn *, void *argument);
/* Sends them at once: for who ends the Valkey client, which calls back only what it was sent. */
void mirror_beats_send(struct mirror *);

struct mirror_available {
	const char *id;
	int sessions;
	const char *heartbeat;
};

struct mirror_totals {
	int64_t online, deactivated, available;
};

/*
 * Who is available: online, active, heartbeat fresh, load below the limit; by load, then id.  Borrowed until
 * the callback returns.  Any number of callers in one process cost one search at a time.
 */
typedef void mirror_available_fn(void *argument, const char *error, const struct mirror_available *,
    size_t, const struct mirror_totals *);
void mirror_available(struct mirror *, mirror_available_fn *, void *argument);

/*
 * The same from the index, at a cost that does not grow with those online; or by such a search, if the index cannot be
 * used.  The first `most` of them, by load, then by how long that has been their load; or none, only the totals.
 */
void mirror_best(struct mirror *, size_t most, mirror_available_fn *, void *argument);
void mirror_count(struct mirror *, mirror_available_fn *, void *argument);

/* Online, active and heartbeat fresh; load does not count. */
typedef void mirror_reachable_fn(void *argument, const char *error, bool reachable);
void mirror_reachable(struct mirror *, const char *id, mirror_reachable_fn *, void *argument);

/* text NULL: none. Of a heartbeat: none, or one that is no ISO stamp. */
typedef void mirror_text_fn(void *argument, const char *error, const char *text);
void mirror_heartbeat_of(struct mirror *, const char *id, mirror_text_fn *, void *argument);

/*
 * The beacon's JSON, {"available":true,"count":12,"as_of":"2026-…"}: the cluster's snapshot, recomputed by one process of
 * the cluster when it has expired, while the others wait for it.  Any number of callers in one process cost
 * one flight.
 */
void mirror_snapshot(struct mirror *, mirror_text_fn *, void *argument);

#endif
