/*
 * series: how long things took, and how requests ended; the labelled part of what a process counts.
 *
 * Routes and statuses are numbers here: which they are, the server knows (server/handlers/metrics.c).
 * Children report this to the master with their counters.  A reload starts it anew, as a route's
 * number may mean another one in the next program; Prometheus takes that for what it is, a restart.
 */
#ifndef COMMON_SERIES_H
#define COMMON_SERIES_H

#include <stdint.h>

#define SERIES_BOUNDS   14
#define SERIES_ROUTES   96
#define SERIES_STATUSES 24

/* Upper bounds of the buckets, microseconds, ascending. */
extern const int64_t series_bounds_us[SERIES_BOUNDS];

struct histogram {
	uint64_t
	    buckets[SERIES_BOUNDS + 1]; /* not cumulative; the last has what is beyond all bounds */
	uint64_t sum_us;
};

struct series {
	struct histogram postgres; /* from submission to callback, answered or not */
	struct histogram valkey;   /* per batch that was sent */
	struct histogram routes[SERIES_ROUTES];
	uint64_t statuses[SERIES_ROUTES][SERIES_STATUSES];
};

extern struct series series;

/* What the routes' numbers stand for, in any words; main sets it before it forks. Two programs that differ in it do not add up. */
extern const char *series_names;

void histogram_observe(struct histogram *, int64_t duration_us);
void series_add(struct series *sum, const struct series *more);

#endif
