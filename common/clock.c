/* clock: wall times are written with gmtime_r(), and read by writing them again and comparing. */
#include "common/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* The years that fit four digits. */
#define WALL_MS_LEAST INT64_C(-62167219200000) /* 0000-01-01T00:00:00.000Z */
#define WALL_MS_MOST  INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

static int64_t read_us(clockid_t);
static bool has_shape(const char *text);

int64_t
clock_monotonic_us(void)
{
	return read_us(CLOCK_MONOTONIC);
}

int64_t
clock_monotonic_ms(void)
{
	return read_us(CLOCK_MONOTONIC) / 1000;
}

int64_t
clock_wall_ms(void)
{
	return read_us(CLOCK_REALTIME) / 1000;
}

static int64_t
read_us(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
iso_second(time_t seconds, char text[CLOCK_ISO_SIZE])
{
	struct tm tm;

	gmtime_r(&seconds, &tm);
	/* The remainders change nothing; they let the compiler see that the text fits. */
	snprintf(text, CLOCK_ISO_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.000Z",
	    (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
	    (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
	    (unsigned)tm.tm_sec % 100);
}

/* Every heartbeat bears a time of the current second, so the last second's text is kept. */
void
clock_iso(int64_t wall_ms, char text[CLOCK_ISO_SIZE])
{
	static _Thread_local char kept[CLOCK_ISO_SIZE];
	static _Thread_local time_t kept_seconds;
	time_t seconds;
	int ms;

	if (wall_ms < WALL_MS_LEAST)
		wall_ms = WALL_MS_LEAST;
	if (wall_ms > WALL_MS_MOST)
		wall_ms = WALL_MS_MOST;
	ms = (int)(((wall_ms % 1000) + 1000) % 1000);
	seconds = (time_t)((wall_ms - ms) / 1000);
	if (seconds != kept_seconds || kept[0] == '\0')
		iso_second(seconds, kept);
	kept_seconds = seconds;
	memcpy(text, kept, CLOCK_ISO_SIZE);
	text[20] = (char)('0' + ms / 100);
	text[21] = (char)('0' + ms / 10 % 10);
	text[22] = (char)('0' + ms % 10);
}

static int
number_at(const char *text, int at, int digits)
{
	int number = 0;

	for (int i = at; i < at + digits; i++)
		number = number * 10 + (text[i] - '0');
	return number;
}

bool
clock_parse_iso(const char *text, int64_t *wall_ms)
{
	struct tm tm = { 0 };
	char again[CLOCK_ISO_SIZE];
	int64_t result;
	int ms;

	if (!has_shape(text))
		return false;
	tm.tm_year = number_at(text, 0, 4);
	tm.tm_mon = number_at(text, 5, 2);
	tm.tm_mday = number_at(text, 8, 2);
	tm.tm_hour = number_at(text, 11, 2);
	tm.tm_min = number_at(text, 14, 2);
	tm.tm_sec = number_at(text, 17, 2);
	ms = number_at(text, 20, 3);
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	result = (int64_t)timegm(&tm) * 1000 + ms;

	/* timegm() carries 30 February over into March: what it changed was no time. */
	clock_iso(result, again);
	if (strcmp(text, again) != 0)
		return false;
	*wall_ms = result;
	return true;
}

static bool
has_shape(const char *text)
{
	static const char shape[CLOCK_ISO_SIZE] = "0000-00-00T00:00:00.000Z";
	size_t i;

	for (i = 0; i < sizeof(shape); i++) {
		bool fits = shape[i] == '0' ? text[i] >= '0' && text[i] <= '9'
					    : text[i] == shape[i];

		if (!fits)
			return false;
	}
	return true;
}

struct timeval
clock_timeval(int64_t ms)
{
	if (ms < 0)
		ms = 0;
	return (struct timeval){ .tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000 };
}
