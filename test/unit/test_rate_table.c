/* What rate_table.h promises. */
#include "test/unit/unit.h"

#include <stdio.h>

#include "server/sign_in/rate_table.h"

#define MINUTE_MS 60000
#define SECOND_US INT64_C(1000000)

static struct rate_table table;

static struct rate_verdict
take(const char *key, int tokens, int64_t seconds)
{
	return rate_table_take(
	    &table, "bucket", key, tokens, MINUTE_MS, (1000 + seconds) * SECOND_US);
}

TEST("a bucket gives what it holds, then nothing, and says for how long")
{
	struct rate_verdict verdict;

	rate_table_init(&table);
	for (int left = 2; left >= 0; left--) {
		verdict = take("a", 3, 0);
		CHECK(verdict.taken);
		CHECK_NUMBER(verdict.left, left);
		CHECK_NUMBER(verdict.full_ms, (3 - left) * 20000);
		CHECK_NUMBER(verdict.retry_ms, 0);
	}
	verdict = take("a", 3, 0);
	CHECK(!verdict.taken);
	CHECK_NUMBER(verdict.left, 0);
	CHECK_NUMBER(verdict.retry_ms, 20000);
}

TEST("tokens come back one by one, and never more than the bucket holds")
{
	rate_table_init(&table);
	for (int i = 0; i < 3; i++)
		CHECK(take("a", 3, 0).taken);
	CHECK(!take("a", 3, 19).taken);
	CHECK(take("a", 3, 20).taken);
	CHECK(!take("a", 3, 21).taken);
	CHECK_NUMBER(take("a", 3, 3600).left, 2);
}

TEST("buckets of other names and keys are others")
{
	rate_table_init(&table);
	CHECK(take("a", 1, 0).taken);
	CHECK(!take("a", 1, 0).taken);
	CHECK(take("b", 1, 0).taken);
	CHECK(rate_table_take(&table, "other", "a", 1, MINUTE_MS, 1000 * SECOND_US).taken);
	CHECK(rate_table_take(&table, "bucketa", "", 1, MINUTE_MS, 1000 * SECOND_US).taken);
}

TEST("a lower limit counts from the next token on")
{
	rate_table_init(&table);
	for (int i = 0; i < 30; i++)
		CHECK(take("a", 60, 0).taken);
	CHECK(take("a", 2, 0).taken);
	CHECK(!take("a", 2, 0).taken);
}

TEST("a flood of keys uses no memory, and nobody is refused whose first request it is")
{
	char key[16];
	int refused = 0;

	rate_table_init(&table);
	for (int i = 0; i < 100000; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		refused += !take(key, 1, 0).taken;
	}
	CHECK_NUMBER(refused, 0);
	CHECK(take("late", 1, 0).taken);
	CHECK(!take("late", 1, 0).taken);
}
