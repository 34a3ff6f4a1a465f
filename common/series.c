/* series: the one of this process, and how two are added; see series.h. */
#include "common/series.h"

#include <stddef.h>

struct series series;
const char *series_names = "";

const int64_t series_bounds_us[SERIES_BOUNDS] = { 100, 250, 500, 1000, 2500, 5000, 10000, 25000,
	50000, 100000, 250000, 500000, 1000000, 2500000 };

void
histogram_observe(struct histogram *histogram, int64_t duration_us)
{
	int bucket = 0;

	while (bucket < SERIES_BOUNDS && duration_us > series_bounds_us[bucket])
		bucket++;
	histogram->buckets[bucket]++;
	histogram->sum_us += duration_us > 0 ? (uint64_t)duration_us : 0;
}

/* Every member is a uint64_t, and there is nothing between them. */
void
series_add(struct series *sum, const struct series *more)
{
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)more;

	for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++)
		to[i] += from[i];
}
