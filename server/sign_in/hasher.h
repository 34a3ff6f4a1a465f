/*
 * hasher: passwords are hashed in a thread of their own, so that a sign-in never delays a heartbeat.
 *
 * One thread a worker, hence one hash (128 MiB) at a time and WORKERS of them in the instance.  It runs
 * at a lower priority than the event loop, touches nothing but its job, takes no signals, logs nothing,
 * and is started by the first job: a worker that signs nobody in has none.
 *
 * Who wants a hash takes a place first, and keeps it until all his jobs are done: HASHER_PLACES bounds
 * the work that one worker may owe.
 */
#ifndef SERVER_HASHER_H
#define SERVER_HASHER_H

#include <stdbool.h>

struct event_base;
struct hasher;

#define HASHER_PLACES 8

enum hasher_status {
	HASHER_DONE,
	HASHER_FAILED, /* no memory, thread or randomness was to be had */
	HASHER_ENDED,  /* hasher_close() came first */
};

/* `matches` is of hasher_verify(), `hash` of hasher_make() and borrowed until the callback returns. */
typedef void hasher_done_fn(void *argument, enum hasher_status, bool matches, const char *hash);

/* After the fork. */
struct hasher *hasher_new(struct event_base *);
/* Nothing is begun any more: what waits, and what still comes, ends as HASHER_ENDED, in the event loop as ever. */
void hasher_close(struct hasher *);
/*
 * Waits for the job that runs, some tenths of a second.  What has not been called back ends as
 * HASHER_ENDED in here; such a callback must not submit anything.
 */
void hasher_free(struct hasher *);

/* False: all places are taken. */
bool hasher_take_place(struct hasher *) __attribute__((warn_unused_result));
void hasher_leave_place(struct hasher *);

/*
 * One job of one who has a place.  The texts are copied, and wiped after use.  Calls back from the
 * event loop, never from within.  `hash` NULL: nobody's; as slow as any, and false.
 */
void hasher_verify(
    struct hasher *, const char *password, const char *hash, hasher_done_fn *, void *argument);
void hasher_make(struct hasher *, const char *password, hasher_done_fn *, void *argument);

#endif
