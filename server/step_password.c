/*
 * step_password: a chain's passwords, by the worker's hasher.
 */
#include "common/log.h"
#include "server/sign_in/hasher.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/step.h"

static hasher_done_fn password_checked;
static hasher_done_fn password_made;
static rows_fn attempt_undone;

bool
password_place(struct request *r)
{
	if (!r->has_place)
		r->has_place = hasher_take_place(r->worker->hasher);
	return r->has_place;
}

outcome
password_place_refused(struct request *r)
{
	return reply_problem(r, PROBLEM_RATE_LIMITED,
	    "Too many passwords are being checked; try again in a moment.");
}

outcome
password_check(struct request *r, const char *password, const char *hash, flag_fn *next)
{
	if (!password_place(r))
		return password_place_refused(r);
	r->next.flag = next;
	hasher_verify(r->worker->hasher, password, hash, password_checked, r);
	return step_waiting_();
}

outcome
password_make(struct request *r, const char *password, text_fn *next)
{
	if (!password_place(r))
		return password_place_refused(r);
	r->next.text = next;
	hasher_make(r->worker->hasher, password, password_made, r);
	return step_waiting_();
}

/* Whoever was counted as having failed, before anything was checked, has not. */
static outcome
password_failed(struct request *r, enum hasher_status status)
{
	if (status != HASHER_FAILED)
		return reply_problem(r, PROBLEM_OVERLOADED, NULL);
	log_event(SEVERITY_ERROR, LOG_FIELDS(LOG_TEXT("request_id", r->id)),
	    "a password could not be hashed: no memory, thread or randomness");
	if (r->attempt_email == NULL)
		return reply_problem(r, PROBLEM_OVERLOADED, NULL);
	return db_call(r, SQL_OPERATOR_ATTEMPT_UNDO, ARGS(r->attempt_email), attempt_undone);
}

static outcome
attempt_undone(struct request *r, const struct rows *rows)
{
	return reply_problem(r, PROBLEM_OVERLOADED, NULL);
}

static void
password_checked(void *argument, enum hasher_status status, bool matches, const char *hash)
{
	struct request *r = argument;

	if (status == HASHER_DONE)
		(void)r->next.flag(r, matches);
	else
		(void)password_failed(r, status);
}

static void
password_made(void *argument, enum hasher_status status, bool matches, const char *hash)
{
	struct request *r = argument;

	if (status == HASHER_DONE)
		(void)r->next.text(r, hash);
	else
		(void)password_failed(r, status);
}
