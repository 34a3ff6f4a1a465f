/*
 * generation: the children that came of one configuration, and the sockets they serve.
 *
 * It begins with the sweeper, whose start settles what is overdue and fills the mirror; when the
 * sweeper is ready the sockets listen and the workers come; when all are ready it is running.  From
 * then on each place that empties is filled again. During a reload there are two, one running and one
 * starting, then one running and one stopping; never more.
 */
#ifndef SERVER_GENERATION_H
#define SERVER_GENERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/config.h"
#include "server/master/child.h"
#include "server/master/listeners.h"

enum generation_state {
	GENERATION_STARTING,
	GENERATION_RUNNING,
	GENERATION_STOPPING, /* no place is filled any more */
};

struct generation {
	enum generation_state state;
	int number; /* 1 is the first start */
	int workers;
	struct config config;       /* owned */
	struct listeners listeners; /* none any more when it is stopping */
	struct child *children;     /* the sweeper first, if there is one */
	size_t count;
	bool listening;     /* the workers may come */
	int64_t kill_at_ms; /* of a stopping one: the grace is over */
	/* Set once a child has shown that it cannot go on like this: the exit status, and why. */
	int failure;
	char reason[192];
};

/* Takes over the configuration and the listeners, which are empty afterwards. No child is started yet. */
struct generation *generation_new(int number, struct config *, struct listeners *);
/* All children must have ended. */
void generation_free(struct generation *);

/* Does what is due: starts, replaces, aborts, kills. */
void generation_advance(struct generation *, int64_t now_ms);
/* When generation_advance() is due next, if nothing else happens; INT64_MAX: not at all. */
int64_t generation_due_ms(const struct generation *);
/* The child that ended; NULL if it is none of this generation's. */
struct child *generation_find(struct generation *, pid_t);
/* Judges how a child of this generation ended, and empties its place. */
void generation_child_ended(struct generation *, struct child *, int status, int64_t now_ms);

/*
 * TERM to all; what is left when the grace of its own configuration is over, is killed.  Closes our
 * copies of its sockets, but for those in `kept` (NULL: none): when the children close theirs, clients
 * are refused and do not wait in vain.
 */
void generation_stop(struct generation *, const struct listeners *kept, int64_t now_ms);
void generation_kill(struct generation *);
/* How many processes there are. */
size_t generation_living(const struct generation *);

/* How its children are: sets the number and the states. */
void generation_count(const struct generation *, struct channel_metrics *);
/* One status line per child. */
void generation_log(const struct generation *, int64_t now_ms);

#endif
