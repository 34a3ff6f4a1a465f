/* What sweeper.h promises of the parts that need no server. */
#include "test/unit/unit.h"

#include <stdio.h>

#include "common/clock.h"
#include "sweeper/sweeper.h"

static const char *
id_of(int number)
{
	static char id[37];

	snprintf(id, sizeof(id), "%08x-0000-4000-8000-0000000000ff", number * 7919);
	return id;
}

TEST("all ids that were added in ascending order are known, and no other is")
{
	enum { COUNT = 5000 };
	struct known known = { 0 };

	CHECK(!known_has(&known, id_of(1)));
	for (int i = 0; i < COUNT; i += 2)
		known_add(&known, id_of(i));
	CHECK_NUMBER(known.count, COUNT / 2);
	for (int i = 0; i < COUNT; i++) {
		unit_about("%s", id_of(i));
		CHECK(known_has(&known, id_of(i)) == (i % 2 == 0));
	}
	known_free(&known);
	CHECK_NUMBER(known.count, 0);
}

TEST("what is no id is not known, and changes nothing when added")
{
	struct known known = { 0 };

	known_add(&known, "not an id");
	known_add(&known, "");
	CHECK_NUMBER(known.count, 0);
	known_add(&known, "ffffffff-0000-4000-8000-0000000000ff");
	CHECK(known_has(&known, "ffffffff-0000-4000-8000-0000000000ff"));
	CHECK(!known_has(&known, "not an id"));
	known_free(&known);
}

TEST("an id is a UUID as PostgreSQL writes it, whole and in small letters")
{
	CHECK(sweeper_is_uuid("0190a2b4-cdef-4a5b-8c6d-7e8f90123456"));
	CHECK(!sweeper_is_uuid("0190A2B4-CDEF-4A5B-8C6D-7E8F90123456"));
	CHECK(!sweeper_is_uuid("0190a2b4-cdef-4a5b-8c6d-7e8f9012345"));
	CHECK(!sweeper_is_uuid("0190a2b4-cdef-4a5b-8c6d-7e8f901234567"));
	CHECK(!sweeper_is_uuid("0190a2b4cdef4a5b8c6d7e8f90123456"));
	CHECK(!sweeper_is_uuid("0190a2b4-cdef-4a5b-8c6d-7e8f9012345g"));
	CHECK(!sweeper_is_uuid("{"));
	CHECK(!sweeper_is_uuid(""));
}

TEST("texts become a PostgreSQL array")
{
	struct arena arena = { 0 };
	const char *texts[] = { "a", "bc", "def" };

	CHECK_TEXT(sweeper_array(&arena, texts, 0), "{}");
	CHECK_TEXT(sweeper_array(&arena, texts, 1), "{a}");
	CHECK_TEXT(sweeper_array(&arena, texts, 3), "{a,bc,def}");
	arena_free(&arena);
}

TEST("a clock that was set, in either direction, is noticed and stays noticed until everyone was "
     "told")
{
	int64_t offset_ms = clock_wall_ms() - clock_monotonic_ms();
	int64_t steps_ms[] = { 3600000, -3600000, 6000, -6000 };

	for (size_t i = 0; i < sizeof(steps_ms) / sizeof(*steps_ms); i++) {
		struct sweeper s = { .clock_offset_ms = offset_ms - steps_ms[i] };

		unit_about("%lld ms", (long long)steps_ms[i]);
		CHECK(watch_clock_set(&s));
		CHECK(watch_clock_set(&s));
		s.clock_set = false;
		CHECK(!watch_clock_set(&s));
	}
}

TEST("a clock that is being slewed was not set")
{
	struct sweeper s = { .clock_offset_ms = clock_wall_ms() - clock_monotonic_ms() - 900 };

	CHECK(!watch_clock_set(&s));
}
