/*
 * histogram: buckets of one microsecond up to 256, then 128 buckets for each doubling.
 */
#include "test/bench/histogram.h"

static unsigned
bucket_of(uint64_t us)
{
	unsigned shift = 0, bucket;

	if (us < 2 * HISTOGRAM_FINE)
		return (unsigned)us;
	while (us >> shift >= 2 * HISTOGRAM_FINE)
		shift++;
	bucket = shift * HISTOGRAM_FINE + (unsigned)(us >> shift);
	return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/* The greatest time that falls into a bucket. */
static uint64_t
bucket_top(unsigned bucket)
{
	unsigned shift;

	if (bucket < 2 * HISTOGRAM_FINE)
		return bucket;
	shift = bucket / HISTOGRAM_FINE - 1;
	return (((uint64_t)bucket - shift * HISTOGRAM_FINE + 1) << shift) - 1;
}

void
histogram_add(struct histogram *histogram, uint64_t us)
{
	histogram->counts[bucket_of(us)]++;
	histogram->total++;
	histogram->sum_us += us;
	if (us > histogram->max_us)
		histogram->max_us = us;
}

uint64_t
histogram_quantile(const struct histogram *histogram, double share)
{
	uint64_t seen = 0, wanted = (uint64_t)(share * (double)histogram->total + 0.5);

	if (histogram->total == 0)
		return 0;
	for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
		seen += histogram->counts[bucket];
		if (seen >= wanted && seen > 0) {
			uint64_t top = bucket_top(bucket);

			return top < histogram->max_us ? top : histogram->max_us;
		}
	}
	return histogram->max_us;
}
