/* rate_table: a set-associative table, as a processor's cache is one. */
#include "server/sign_in/rate_table.h"

#include <string.h>
#include <unistd.h>

#include "common/log.h"

void
rate_table_init(struct rate_table *table)
{
	memset(table, 0, sizeof(*table));
	if (getentropy(&table->seed, sizeof(table->seed)) != 0)
		fatal("the kernel gives no random bytes");
}

/* FNV-1a over the seed and both names, then mixed (as SplitMix64 does), for the low bits choose the set. */
static uint64_t
hash_of(const struct rate_table *table, const char *bucket, const char *key)
{
	uint64_t hash = 0xcbf29ce484222325U ^ table->seed;

	for (const char *at = bucket; *at != '\0'; at++)
		hash = (hash ^ (unsigned char)*at) * 0x100000001b3U;
	hash *= 0x100000001b3U;
	for (const char *at = key; *at != '\0'; at++)
		hash = (hash ^ (unsigned char)*at) * 0x100000001b3U;
	hash = (hash ^ table->seed ^ (hash >> 30)) * 0xbf58476d1ce4e5b9U;
	hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebU;
	return hash ^ (hash >> 31);
}

static struct rate_bucket *
bucket_of(struct rate_table *table, uint64_t key)
{
	struct rate_bucket *set = table->sets[key % RATE_TABLE_SETS], *found = &set[0];

	for (int i = 0; i < RATE_TABLE_WAYS; i++) {
		if (set[i].key == key)
			return &set[i];
		if (set[i].full_us < found->full_us)
			found = &set[i];
	}
	*found = (struct rate_bucket){ .key = key };
	return found;
}

struct rate_verdict
rate_table_take(struct rate_table *table, const char *bucket_name, const char *key, int tokens,
    int64_t period_ms, int64_t now_us)
{
	struct rate_bucket *bucket = bucket_of(table, hash_of(table, bucket_name, key));
	int64_t period_us = period_ms * 1000, each_us = period_us / tokens;
	int64_t full_us = bucket->full_us > now_us ? bucket->full_us : now_us;

	if (full_us + each_us > now_us + period_us)
		return (struct rate_verdict){
			.full_ms = (full_us - now_us + 999) / 1000,
			.retry_ms = (full_us + each_us - period_us - now_us + 999) / 1000,
		};
	bucket->full_us = full_us + each_us;
	return (struct rate_verdict){
		.taken = true,
		.left = (now_us + period_us - bucket->full_us) / each_us,
		.full_ms = (bucket->full_us - now_us + 999) / 1000,
	};
}
