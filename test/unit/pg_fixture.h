/*
 * pg_fixture: what the tests of pg stand on: a loop that waits for conditions, a session of their own on
 * the server, and a proxy before it that refuses or swallows.
 *
 * MITRAD_TEST_DATABASE_URL names the database; without it the program ends at once with 77, skipped.
 */
#ifndef TEST_UNIT_PG_FIXTURE_H
#define TEST_UNIT_PG_FIXTURE_H

#include <stdint.h>

#include <event2/event.h>

#include "common/clock.h"

#define LIMIT_MS 20000 /* a condition that has not come true by then never will */

/* A check without which nothing can go on: ends the program. */
#define REQUIRE(condition)                                              \
	do {                                                            \
		if (!(condition))                                       \
			fixture_failed(#condition, __FILE__, __LINE__); \
	} while (0)

/* Turns the loop until the condition holds; it is looked at every 10 ms at least. */
#define RUN_UNTIL(condition)                                                                \
	do {                                                                                \
		int64_t began_ms_ = clock_monotonic_ms();                                   \
		while (!(condition)) {                                                      \
			REQUIRE(event_base_loop(base, EVLOOP_ONCE) == 0);                   \
			if (clock_monotonic_ms() - began_ms_ > LIMIT_MS)                    \
				fixture_failed("in time: " #condition, __FILE__, __LINE__); \
		}                                                                           \
	} while (0)

extern struct event_base *base;
extern const char *server_url; /* the server itself */
extern char proxy_url[];       /* the same by way of the proxy */

_Noreturn void fixture_failed(const char *condition, const char *file, int line);
void run_for(int64_t ms);
/* A clock that runs while the loop turns, and hardly while the machine has no time for this process. */
int64_t ran_ms(void);
/* Runs SQL in the fixture's own session, which must succeed. */
void admin_run(const char *sql);

enum proxy_mode {
	FORWARD,
	REFUSE,
	SWALLOW, /* accepts, and lets nothing through in either direction */
};

/* For connections to come and for those that are. */
void proxy_set(enum proxy_mode);

#endif
