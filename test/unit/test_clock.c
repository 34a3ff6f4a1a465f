/* What clock.h promises. */
#include "test/unit/unit.h"

#include <stddef.h>
#include <stdlib.h>

#include "common/clock.h"

static const struct {
	int64_t wall_ms;
	const char *text;
} times[] = {
	{ 0, "1970-01-01T00:00:00.000Z" },
	{ -1, "1969-12-31T23:59:59.999Z" },
	{ -1001, "1969-12-31T23:59:58.999Z" },
	{ 1779703675123, "2026-05-25T10:07:55.123Z" },
	{ 951782400000, "2000-02-29T00:00:00.000Z" },
	{ 253402300799999, "9999-12-31T23:59:59.999Z" },
	{ -62167219200000, "0000-01-01T00:00:00.000Z" },
};

TEST("times are written as UTC, ISO 8601, milliseconds")
{
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		char text[CLOCK_ISO_SIZE];

		clock_iso(times[i].wall_ms, text);
		CHECK_TEXT(text, times[i].text);
	}
}

TEST("what is written is read back as the same time")
{
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		int64_t wall_ms = 1;

		unit_about("%s", times[i].text);
		CHECK(clock_parse_iso(times[i].text, &wall_ms));
		CHECK_NUMBER(wall_ms, times[i].wall_ms);
	}
	srandom(1);
	for (int i = 0; i < 20000; i++) {
		int64_t wall_ms = ((int64_t)random() << 16 ^ random()) % 253402300799999;
		int64_t again = 0;
		char text[CLOCK_ISO_SIZE];

		clock_iso(wall_ms, text);
		if (!clock_parse_iso(text, &again) || again != wall_ms)
			CHECK_NUMBER(again, wall_ms);
	}
}

TEST("a time beyond four-digit years is written as the nearest one that has them")
{
	char text[CLOCK_ISO_SIZE];

	clock_iso(INT64_MAX, text);
	CHECK_TEXT(text, "9999-12-31T23:59:59.999Z");
	clock_iso(INT64_MIN, text);
	CHECK_TEXT(text, "0000-01-01T00:00:00.000Z");
}

TEST("anything but the exact form of an existing time is refused")
{
	static const char *const refused[] = {
		"",
		"2026",
		"2026-05-25T10:07:55Z",
		"2026-05-25T10:07:55.12Z",
		"2026-05-25T10:07:55.1234Z",
		"2026-05-25T10:07:55.123",
		"2026-05-25T10:07:55.123z",
		"2026-05-25 10:07:55.123Z",
		"2026-05-25T10:07:55,123Z",
		"2026-05-25T10:07:55.123+07:00",
		"2026-05-25T10:07:55.123Z ",
		" 2026-05-25T10:07:55.123Z",
		"2026-02-30T10:07:55.123Z",
		"2026-00-25T10:07:55.123Z",
		"2026-13-25T10:07:55.123Z",
		"2026-05-00T10:07:55.123Z",
		"2026-05-25T24:00:00.000Z",
		"2026-05-25T10:60:55.123Z",
		"2026-05-25T10:07:60.123Z",
		"+026-05-25T10:07:55.123Z",
		"2026-05-25T10:07:5 .123Z",
		"2026-05-25T10:07:55.-23Z",
	};

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		int64_t wall_ms = 42;

		unit_about("\"%s\"", refused[i]);
		CHECK(!clock_parse_iso(refused[i], &wall_ms));
		CHECK_NUMBER(wall_ms, 42);
	}
}

TEST("the monotonic clock never goes back and agrees with itself")
{
	int64_t before_us = clock_monotonic_us();
	int64_t ms = clock_monotonic_ms();
	int64_t after_us = clock_monotonic_us();

	CHECK(before_us / 1000 <= ms && ms <= after_us / 1000);
}

TEST("a duration becomes a timeval; a negative one is no time at all")
{
	struct timeval timeval = clock_timeval(61234);

	CHECK(timeval.tv_sec == 61 && timeval.tv_usec == 234000);
	timeval = clock_timeval(-5);
	CHECK(timeval.tv_sec == 0 && timeval.tv_usec == 0);
}
