/*
 * histogram: how many answers took how long, to 1 % from a microsecond to an hour.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_FINE    128 /* buckets for each doubling */
#define HISTOGRAM_BUCKETS (HISTOGRAM_FINE * 26)

struct histogram {
	uint64_t counts[HISTOGRAM_BUCKETS];
	uint64_t total;
	uint64_t sum_us, max_us;
};

void histogram_add(struct histogram *, uint64_t us);
/* The least time that this share of the answers did not exceed; 0 if there are none. */
uint64_t histogram_quantile(const struct histogram *, double share);

#endif
