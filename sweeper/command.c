/*
 * command: `mitrad mirror verify|diff|reseed`, by hand and without a master.
 *
 * Its reseed never makes anybody look fresh; only the sweeper knows whether somebody listens to heartbeats.
 */
#include <stdio.h>
#include <string.h>

#include "common/boot.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/pg.h"
#include "sweeper/sweeper.h"

#define PATIENCE_MS 5000 /* with PostgreSQL: a person waits */

static bool
connected(struct sweeper *s)
{
	int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;

	while (!pg_is_up(s->pg) && clock_monotonic_ms() < until_ms)
		sweeper_sleep(s, 50);
	if (pg_is_up(s->pg))
		return true;
	snprintf(s->error, sizeof(s->error), "PostgreSQL: %s", pg_last_error(s->pg));
	return false;
}

static bool
command_reseed(struct sweeper *s)
{
	if (!reseed(s, (struct reseed_how){ .orphans = true }))
		return false;
	printf("%s\n", s->seeded);
	return true;
}

static bool
command_verify(struct sweeper *s, bool each, size_t *differences)
{
	if (!verify(s, each ? stdout : NULL, differences))
		return false;
	if (*differences)
		printf("%zu %s between the mirror and the truth\n", *differences,
		    *differences == 1 ? "difference" : "differences");
	else
		printf("the mirror is equal to the truth\n");
	return true;
}

int
mirror_command(const struct config *config, const char *verb)
{
	struct sweeper s;
	size_t differences = 0;
	bool done;

	log_set_process("mirror");
	sweeper_open(&s, config);
	if (!connected(&s))
		done = false;
	else if (strcmp(verb, "reseed") == 0)
		done = command_reseed(&s);
	else
		done = command_verify(&s, strcmp(verb, "diff") == 0, &differences);
	if (!done)
		log_error("mirror %s: %s", verb, s.error);
	sweeper_close(&s);
	fflush(stdout);
	log_flush();
	return done && differences == 0 ? 0 : 1;
}
