/*
 * event_waits: requests that wait for a user's next event (long poll).
 *
 * An event is stored in user_events and published on `user:<type>:<id>` (docs/architecture.md, Pairing).  Whoever waits is first
 * subscribed to that channel, then the truth is asked once whether something came before, for all new waiters of a moment in
 * one statement; so nothing falls between.  While Valkey is away that statement is repeated every two seconds instead.
 *
 * A request waits from event_wait_begin() until it is replied to, though it may read from time to time: what arrives
 * meanwhile is not lost.
 */
#ifndef SERVER_EVENT_WAITS_H
#define SERVER_EVENT_WAITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/step.h"

struct event_wait;
struct event_waits;
struct request;
struct worker;

struct event_waits *event_waits_new(struct worker *);
/* Everybody has left. */
void event_waits_free(struct event_waits *);
/* All who wait are answered now, and nobody waits any more. */
void event_waits_drain(struct event_waits *);

size_t event_waits_count(const struct event_waits *);
/* Once a second. */
void event_waits_tick(struct event_waits *);

/* What the worker's subscriber tells. */
void event_waits_subscribed(struct event_waits *);
void event_waits_confirmed(struct event_waits *, const char *channel);
void event_waits_message(struct event_waits *, const char *channel);

/*
 * The caller waits for events of his behind `after`, for wait_ms from now.  False: too many do already.  The oldest request
 * of a user who has too many of them is let go.
 */
bool event_wait_begin(struct request *, int64_t after, int64_t wait_ms);
/* `woken` is the next step when there seems to be something new, `over` when the time is up. */
outcome event_wait(struct request *, step_fn *woken, step_fn *over);
/* For request_free(). */
void event_wait_end(struct event_wait *);

#endif
