/*
 * clock: the two clocks, and the one way a time is written.
 *
 * Deadlines and durations use the monotonic clock; whatever other machines or people read is wall time, UTC,
 * ISO 8601 with milliseconds (`2026-05-25T10:07:55.123Z`).
 */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/time.h>

#define CLOCK_ISO_SIZE 25 /* "2026-05-25T10:07:55.123Z" and its NUL */

int64_t clock_monotonic_us(void);
int64_t clock_monotonic_ms(void);
int64_t clock_wall_ms(void); /* since 1970-01-01T00:00:00Z */

void clock_iso(int64_t wall_ms, char text[CLOCK_ISO_SIZE]);
/* Accepts exactly what clock_iso() writes; false for anything else. */
bool clock_parse_iso(const char *text, int64_t *wall_ms);

struct timeval clock_timeval(int64_t ms);

#endif
