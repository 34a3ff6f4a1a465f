/*
 * rate_table: token buckets in this process, for as long as Valkey is away.
 *
 * Of a fixed size: RATE_TABLE_SETS sets of RATE_TABLE_WAYS buckets.  A key that finds its set full takes the place of the bucket that
 * would be full soonest; so whoever floods the table with addresses makes others' buckets full again, and never uses memory.
 */
#ifndef SERVER_RATE_TABLE_H
#define SERVER_RATE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#define RATE_TABLE_SETS 1024
#define RATE_TABLE_WAYS 4

struct rate_bucket {
	uint64_t key;    /* a hash, seeded: nobody outside can find two names of one bucket */
	int64_t full_us; /* when it is full again; monotonic */
};

struct rate_table {
	uint64_t seed;
	struct rate_bucket sets[RATE_TABLE_SETS][RATE_TABLE_WAYS];
};

struct rate_verdict {
	bool taken;
	int64_t left;     /* tokens */
	int64_t full_ms;  /* until the bucket is full */
	int64_t retry_ms; /* until there is a token again; 0: there is one */
};

void rate_table_init(struct rate_table *);
/* The arithmetic is that of rate_limit.lua. */
struct rate_verdict rate_table_take(struct rate_table *, const char *bucket, const char *key,
    int tokens, int64_t period_ms, int64_t now_us);

#endif
