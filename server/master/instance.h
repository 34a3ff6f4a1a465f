/*
 * instance: what the master knows, all of it.  The loop in master.c works on it, handover.c carries it
 * over exec().
 */
#ifndef SERVER_INSTANCE_H
#define SERVER_INSTANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/counters.h"
#include "server/master/generation.h"
#include "server/master/reload.h"

struct instance {
	char **argv; /* argv[0] is the absolute path of the program, as it was started */
	char *file;  /* --config; NULL if none */
	enum config_role role;
	char *role_name; /* as --role has it */
	/* At most two at a time: one running, and one that comes or goes. */
	struct generation *starting;
	struct generation *running;
	struct generation *stopping;
	int last_number; /* of a generation */

	bool ending; /* when no generation is left, the master exits */
	int exit_status;

	int64_t started_ms; /* monotonic; the first start */
	uint64_t restarts;
	uint64_t reloads;
	uint64_t reload_failures;
	struct counters retired;      /* counted by children that have ended */
	struct gauges latest;         /* of the gauges of this kind */
	struct series retired_series; /* since the last reload */
	struct reload reload;
};

/* The generations there are; none is NULL. */
struct generations {
	struct generation *all[3];
	size_t count;
};

struct generations instance_generations(const struct instance *);

/* Reads what a child has to say, and answers if it asks. */
void instance_hear(struct instance *, struct child *, int64_t now_ms);
/* Before a child's place is emptied: keeps what it has counted. */
void instance_retire(struct instance *, const struct child *);
/* "public 0.0.0.0:3000, 2 workers, generation 1": what runs, for people. */
void instance_describe(const struct instance *, char *text, size_t size);
/* Tells every sweeper to read the truth again. */
void instance_catch_up(const struct instance *);

#endif
