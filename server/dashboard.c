/*
 * dashboard: the computation, see the header.
 */
#include "server/dashboard.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/counters.h"
#include "common/log.h"
#include "common/mirror.h"
#include "common/pg.h"
#include "server/fallback.h"
#include "server/reply.h"
#include "server/request.h"

#define NUMBER_SIZE 21

/* Who shares a computation: requests, linked by `sharing`, and the stream. */
struct sharers {
	struct request *requests;
	dashboard_done_fn *done; /* NULL: the stream does not */
	void *argument;
};

struct dashboard {
	struct worker *worker;
	struct sharers in_air, boarding;
	bool under_way;
};

static mirror_available_fn mitras_counted;
static pg_done_fn computed;

struct dashboard *
dashboard_new(struct worker *worker)
{
	struct dashboard *dashboard = calloc(1, sizeof(*dashboard));

	if (dashboard == NULL)
		fatal("out of memory");
	dashboard->worker = worker;
	return dashboard;
}

void
dashboard_free(struct dashboard *dashboard)
{
	free(dashboard);
}

static void
take_off(struct dashboard *dashboard)
{
	if (dashboard->under_way ||
	    (dashboard->boarding.requests == NULL && dashboard->boarding.done == NULL))
		return;
	dashboard->under_way = true;
	dashboard->in_air = dashboard->boarding;
	dashboard->boarding = (struct sharers){ 0 };
	counters.dashboard_computations++;
	mirror_count(dashboard->worker->mirror, mitras_counted, dashboard);
}

outcome
dashboard_ask(struct request *r, text_fn *next)
{
	struct dashboard *dashboard = r->worker->dashboard;

	r->next.text = next;
	r->sharing = dashboard->boarding.requests;
	dashboard->boarding.requests = r;
	take_off(dashboard);
	return step_waiting_();
}

void
dashboard_compute(struct dashboard *dashboard, dashboard_done_fn *done, void *argument)
{
	dashboard->boarding.done = done;
	dashboard->boarding.argument = argument;
	take_off(dashboard);
}

static void
mitras_counted(void *argument, const char *error, const struct mirror_available *list, size_t count,
    const struct mirror_totals *totals)
{
	struct dashboard *dashboard = argument;
	char online[NUMBER_SIZE], available[NUMBER_SIZE], deactivated[NUMBER_SIZE];
	const char *counted[] = { online, available, deactivated };
	const char *unknown[] = { NULL, NULL, NULL };

	if (error != NULL) {
		fallback_noted(dashboard->in_air.requests,
		    "[dashboard] valkey unavailable, falling back to Postgres", error);
	} else {
		snprintf(online, sizeof(online), "%lld", (long long)totals->online);
		snprintf(available, sizeof(available), "%lld", (long long)totals->available);
		snprintf(deactivated, sizeof(deactivated), "%lld", (long long)totals->deactivated);
	}
	pg_submit(dashboard->worker->pg, SQL_DASHBOARD, 3, error == NULL ? counted : unknown,
	    computed, dashboard);
}

static void
computed(void *argument, enum pg_status status, const struct rows *rows)
{
	struct dashboard *dashboard = argument;
	struct sharers sharers = dashboard->in_air;
	struct request *r = sharers.requests, *following;

	dashboard->in_air = (struct sharers){ 0 };
	dashboard->under_way = false;
	if (sharers.done != NULL)
		sharers.done(sharers.argument, status == PG_OK ? rows_text(rows, "answer") : NULL);
	for (; r != NULL; r = following) {
		following = r->sharing;
		if (status == PG_OK)
			(void)r->next.text(r, rows_text(rows, "answer"));
		else
			(void)db_failed(r, SQL_DASHBOARD, status, rows);
	}
	take_off(dashboard);
}
