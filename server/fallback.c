/*
 * fallback: one line a second for each kind of read, however many requests fall back.
 */
#include "server/fallback.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "server/request.h"

#define KINDS_MAX 16

static struct {
	const char *what; /* a string constant; NULL: this place is free */
	int64_t logged_ms;
	int64_t silent; /* fallbacks since then */
} kinds[KINDS_MAX];

void
fallback_noted(const struct request *r, const char *what, const char *error)
{
	int64_t now_ms = clock_monotonic_ms();
	size_t i = 0;

	counters.valkey_fallbacks++;
	while (i < KINDS_MAX - 1 && kinds[i].what != NULL && kinds[i].what != what)
		i++;
	if (kinds[i].what == what && now_ms - kinds[i].logged_ms < 1000) {
		kinds[i].silent++;
		return;
	}
	log_event(SEVERITY_WARNING,
	    LOG_FIELDS(LOG_TEXT("request_id", r == NULL ? "" : r->id),
		LOG_NUMBER("more_since_last", kinds[i].silent)),
	    "%s: %s", what, error);
	kinds[i].what = what;
	kinds[i].logged_ms = now_ms;
	kinds[i].silent = 0;
}
