/*
 * events: what a transition tells by pub/sub, after its commit.
 *
 * Best effort: who missed a message fetches the event from the truth, and the sweeper looks for itself once a
 * second.
 */
#ifndef COMMON_EVENTS_H
#define COMMON_EVENTS_H

#include <stddef.h>

/* The sweeper listens here: there may be something to do before the time that it knows of. */
#define EVENTS_WAKE_CHANNEL "mirror:deadline"

struct rows;
struct valkey_batch;

/*
 * The events in the columns event_user_type, event_user_id and event of these rows; without such columns there are
 * none.
 */
size_t events_count(const struct rows *);
/* PUBLISH user:<type>:<id> for each of them. */
void events_add(struct valkey_batch *, const struct rows *);

/* Wakes the sweepers. */
void events_add_wake(struct valkey_batch *);

#endif
