/* mirror_private: what the mirror's own files share. Nobody else includes it. */
#ifndef COMMON_MIRROR_PRIVATE_H
#define COMMON_MIRROR_PRIVATE_H

#include <hiredis/hiredis.h>

#include "common/mirror.h"

struct beat_batch;
struct event;
struct search_waiter;
struct snapshot_waiter;
struct valkey_batch;

/*
 * Who polls the beacon in this process, and the one flight that will answer them all; see
 * mirror_snapshot.c.
 */
struct snapshot {
	struct snapshot_waiter *waiters; /* not empty = a flight is under way */
	struct event *again;             /* looks again while another process recomputes */
	int64_t
	    patience_until_ms; /* monotonic: then recompute without the lock; 0: not waiting yet */
	char token[17];        /* of the lock, this process's own */
	char changes[24];      /* mirror:changes before the recompute began */
};

struct mirror {
	struct event_base *base;
	struct valkey *valkey;
	struct mirror_limits limits;
	char script_sha[41];

	/*
	 * Times the mirror may have missed a state, and how many of them the sweeper was told of by
	 * mirror:dirty. Different: the timer is armed.
	 */
	uint64_t failures;
	uint64_t failures_told;
	bool
	    lacks_state; /* one of those not told is certain: nobody may believe the mirror meanwhile */
	struct event *tell;
	struct event
	    *doubt; /* armed: a transition of which nobody heard may still commit until then */

	struct beat_batch *beats; /* those of this turn of the loop; NULL: none yet */
	struct event *beats_due;  /* at the end of that turn */

	struct snapshot snapshot;

	int64_t online; /* how many there were when last looked */

	/* Who asks for the available mitras; see mirror_search.c. */
	bool searching;
	struct search_waiter *search_waiters; /* for the next search */
};

void beats_init(struct mirror *);
void beats_free(struct mirror *);

void snapshot_init(struct mirror *);
void snapshot_free(struct mirror *);

/*
 * The first error among the replies; MIRROR_EMPTY if the first of them, a GET of mirror:generation, is nil;
 * or NULL.
 */
const char *mirror_fault(const struct mirror *, redisReply *const *replies, size_t count);

/* valkey_add_argv() of C strings. */
void mirror_add(struct valkey_batch *, size_t arguments, const char *const *values);

/* For commands whose outcome changes nothing for us. */
void mirror_ignore(void *argument, const char *error, redisReply *const *replies);

/* A batch that begins with that GET. */
struct valkey_batch *mirror_read_begin(struct mirror *);

/* Is that heartbeat (ISO; NULL if there is none) at most stale_after_seconds old? */
bool mirror_is_fresh(const struct mirror *, const char *heartbeat, int64_t now_ms);

#define HEARTBEAT_KEY_SIZE 53 /* with an id of 36 characters and a NUL */

/* The key of a mitra's heartbeat. */
void mirror_heartbeat_key(char key[HEARTBEAT_KEY_SIZE], const char *id);

/* The text of a string reply, else NULL. */
const char *mirror_reply_text(const redisReply *);

/* The script, compiled into the binary. */
extern const char mirror_script[];

#endif
