/*
 * child: one place for a worker or the sweeper, and the process that fills it at the moment.
 *
 * A child that ends unasked leaves its place empty until retry_ms; then the place is filled again.  How
 * long that takes grows with the number of short lives in a row.
 */
#ifndef SERVER_CHILD_H
#define SERVER_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/channel.h"

struct generation;

enum child_kind {
	CHILD_SWEEPER,
	CHILD_WORKER,
};

/* All times are monotonic milliseconds. */
struct child {
	enum child_kind kind;
	int index;   /* of a worker */
	pid_t pid;   /* 0: the place is empty */
	int channel; /* our end; -1 if there is none */
	bool ready;  /* it has said so */
	bool asked_metrics;
	int short_lives; /* that ended here in a row */
	int64_t started_ms;
	int64_t ticked_ms;        /* the last sign of life; the start counts as one */
	int64_t aborted_ms;       /* it hung, and got SIGABRT; 0: no */
	int64_t retry_ms;         /* when an empty place may be filled again */
	struct counters counters; /* as of the last tick */
	struct gauges gauges;
	struct series series;
	char status[CHANNEL_STATUS_SIZE];
};

#define CHILD_NAME_SIZE 24

/* "worker-0", "sweeper": as the log names it. */
void child_name(const struct child *, char name[CHILD_NAME_SIZE]);
/* Twice or more it has ended soon after its start. */
bool child_is_backing_off(const struct child *);

/* Forks. Returns in the master only; if no process can be made, the place stays empty for a while. */
void child_start(struct child *, const struct generation *, int64_t now_ms);
/* Reads what it has to say. */
void child_hear(struct child *, int64_t now_ms);
void child_signal(const struct child *, int signal);
/* Sees to a child that hangs. */
void child_watch(struct child *, int64_t now_ms);
/* It has ended, and been heard to the last: empties the place. `unasked`: nobody wanted that. */
void child_ended(struct child *, bool unasked, int64_t now_ms);
/* When child_watch() or child_start() is due; INT64_MAX: not at all. */
int64_t child_due_ms(const struct child *);

#endif
