/*
 * channel: the one line between a child and its master.
 *
 * A SOCK_SEQPACKET socket pair, so messages arrive whole or not at all.  Upwards: READY once, TICK
 * every second (all counters, all gauges and a word about what the child is doing; ten seconds without
 * one and the master takes the child for hung), METRICS_ASK.  Downwards: METRICS, the sum over all
 * children as of their last ticks, and CATCH_UP.  Neither side ever waits for the other: what does not
 * fit into the socket's buffer is dropped, and the next tick says it anyhow. End of file means that the
 * master is gone, and the child ends at once.
 *
 * After a reload master and child may come from different binaries.  So each packet bears the layout of
 * the sender's counters; of a foreign layout, a TICK counts as a sign of life and a METRICS as "no
 * answer".
 */
#ifndef COMMON_CHANNEL_H
#define COMMON_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include "common/counters.h"
#include "common/series.h"

struct channel;
struct event_base;

/* The whole instance, as the master knows it. */
struct channel_metrics {
	struct counters counters; /* children that have ended are in it */
	struct gauges gauges;
	struct series series; /* since the last reload */
	uint64_t restarts;    /* children replaced since the first start */
	uint64_t reloads;     /* that succeeded */
	uint64_t reload_failures;
	uint64_t uptime_seconds; /* since the first start: a reload does not reset it */
	uint32_t generation;
	uint32_t children; /* that there should be in the running generation */
	uint32_t children_ready;
	uint32_t children_backing_off; /* crash again and again: /readyz calls it degraded */
	uint32_t children_draining;    /* of the generation before */
};

/* `metrics` is borrowed until the callback returns; NULL: the master did not answer within a second. */
typedef void channel_metrics_fn(void *argument, const struct channel_metrics *metrics);
typedef void channel_fn(void *argument);

/* The child's side. Takes over `fd`; ticks from now on, whenever the loop runs. One per process. */
struct channel *channel_new(struct event_base *, int fd);
/* Sends a last tick, so that no count is lost. Whoever still waits for metrics gets NULL first. */
void channel_free(struct channel *);

/* This child has started: its part of the start is done. */
void channel_ready(struct channel *);
/* What `kill -USR1 <master>` shows of this child from the next tick on; about a hundred bytes. */
void
channel_status(struct channel *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Called before each tick: the place to set the gauges and the status. */
void channel_on_tick(struct channel *, channel_fn *, void *argument);
/*
 * Called when a worker has died, perhaps between its commit and its write to the mirror: read the truth
 * again.
 */
void channel_on_catch_up(struct channel *, channel_fn *, void *argument);
/* Never calls back from within. */
void channel_ask_metrics(struct channel *, channel_metrics_fn *, void *argument);

/* What goes over the line; for channel.c and the master only. */
enum channel_kind {
	CHANNEL_READY = 1,
	CHANNEL_TICK,
	CHANNEL_METRICS_ASK,
	CHANNEL_METRICS,
	CHANNEL_CATCH_UP,
};

#define CHANNEL_STATUS_SIZE 128

struct channel_tick {
	struct counters counters;
	struct gauges gauges;
	struct series series;
	char status[CHANNEL_STATUS_SIZE];
};

/* The three members before the union must stay as they are in every version: strangers read them. */
struct channel_packet {
	uint32_t kind;
	uint32_t bytes;  /* of the whole packet, this header included */
	uint64_t layout; /* channel_layout() of the sender */
	union {
		struct channel_tick tick;
		struct channel_metrics metrics;
	};
};

#define CHANNEL_HEADER_BYTES offsetof(struct channel_packet, tick)

enum channel_read {
	CHANNEL_GOT, /* a packet of its kind's size; or one of a foreign layout: look at the header only */
	CHANNEL_EMPTY, /* nothing more for now */
	CHANNEL_ENDED, /* the other side is gone */
};

uint64_t channel_layout(void);
/* Never waits. A packet that makes no sense is skipped. */
enum channel_read channel_read(int fd, struct channel_packet *) __attribute__((warn_unused_result));
/* Never waits; what the other side has no room for is dropped. Fills in the header. */
void channel_write(int fd, enum channel_kind, struct channel_packet *);

#endif
