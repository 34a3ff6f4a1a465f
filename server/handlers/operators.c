/*
 * operators: admins manage the control center's users, and everybody changes his own password.
 */
#include <string.h>

#include "common/password_rule.h"
#include "common/pg.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

#define PAGE_DEFAULT "50"
#define PAGE_MOST    200

static text_fn operator_hashed;
static rows_fn operator_created;

/* GET /internal/control-center-users?cursor=&limit= */
outcome
operators_list(struct request *r)
{
	const char *cursor = request_query(r, "cursor", 200);
	const char *limit = request_query_limit(r, PAGE_DEFAULT, PAGE_MOST);

	if (request_faults(r) != NULL)
		return reply_faults(r, PROBLEM_INVALID_REQUEST, request_faults(r));
	return db_call(r, SQL_OPERATOR_LIST, ARGS(cursor, limit, BY_OPERATOR(r)), reply_answer);
}

/* PATCH /internal/control-center-users/{} {role?, is_active?} */
outcome
operators_update(struct request *r)
{
	return db_call(
	    r, SQL_OPERATOR_UPDATE, ARGS(r->ids[0], body_json(r), BY_OPERATOR(r)), reply_answer);
}

/* Is the member of the body a password that may be set for that address?  What is wrong is noted in the faults. */
static bool
password_taken(struct request *r, const char *key, const char *email)
{
	const char *fault = password_rule_fault(body_text(r, key), email);

	if (fault != NULL)
		request_fault(r, key, fault);
	return fault == NULL;
}

/* The body's password, or one that is made up and then told in the answer. */
static const char *
password_of(struct request *r, const char *key)
{
	char generated[PASSWORD_GENERATED_SIZE];

	if (body_has(r, key))
		return body_text(r, key);
	password_rule_generate(generated);
	r->new_password = request_keep(r, generated);
	return r->new_password;
}

/* The operator as SQL shows him, and the password if we made it: this once. */
static const char *
with_generated(struct request *r, const char *operator)
{
	size_t length = strlen(operator);

	if (r->new_password == NULL)
		return operator;
	return arena_printf(
	    &r->arena, "%.*s,\"password\":\"%s\"}", (int)(length - 1), operator, r->new_password);
}

/* POST /internal/control-center-users {email, role, password?} */
outcome
operators_create(struct request *r)
{
	if (body_has(r, "password") && !password_taken(r, "password", body_text(r, "email")))
		return reply_faults(r, PROBLEM_INVALID_REQUEST, request_faults(r));
	return password_make(r, password_of(r, "password"), operator_hashed);
}

static outcome
operator_hashed(struct request *r, const char *hash)
{
	return db_call(r, SQL_OPERATOR_CREATE,
	    ARGS(
		body_text(r, "email"), body_text(r, "role"), request_keep(r, hash), BY_OPERATOR(r)),
	    operator_created);
}

static outcome
operator_created(struct request *r, const struct rows *rows)
{
	return reply_json(r, 201, with_generated(r, rows_text(rows, "answer")));
}

/*
 * POST /internal/control-center-users/{}/password {new_password?}: an admin sets somebody else's password.
 * Nobody gets around telling his own present one.
 */
static rows_fn operator_found;
static text_fn reset_hashed;
static rows_fn password_was_reset;

outcome
operators_password_reset(struct request *r)
{
	if (strcmp(r->ids[0], r->caller.id) == 0)
		return reply_problem(
		    r, PROBLEM_FORBIDDEN, "One's own password is changed at me/password.");
	return db_call(r, SQL_OPERATOR_GET, ARGS(r->ids[0]), operator_found);
}

static outcome
operator_found(struct request *r, const struct rows *rows)
{
	if (body_has(r, "new_password") &&
	    !password_taken(r, "new_password", rows_text(rows, "email")))
		return reply_faults(r, PROBLEM_INVALID_REQUEST, request_faults(r));
	return password_make(r, password_of(r, "new_password"), reset_hashed);
}

static outcome
reset_hashed(struct request *r, const char *hash)
{
	return db_call(r, SQL_OPERATOR_PASSWORD_RESET,
	    ARGS(r->ids[0], request_keep(r, hash), BY_OPERATOR(r)), password_was_reset);
}

static outcome
password_was_reset(struct request *r, const struct rows *rows)
{
	return reply_json(r, 200, with_generated(r, rows_text(rows, "answer")));
}

/*
 * POST /internal/control-center-users/me/password {current_password, new_password}.  Checking the present
 * one counts as an attempt to sign in.  All of one's sessions end, this one too.
 */
static rows_fn change_counted;
static flag_fn current_known;
static rows_fn change_refused;
static text_fn change_hashed;
static rows_fn password_changed;

outcome
operators_password_change(struct request *r)
{
	if (strcmp(body_text(r, "new_password"), body_text(r, "current_password")) == 0) {
		request_fault(r, "new_password", "must be another than the present one");
		return reply_faults(r, PROBLEM_INVALID_REQUEST, request_faults(r));
	}
	if (!password_taken(r, "new_password", NULL))
		return reply_faults(r, PROBLEM_INVALID_REQUEST, request_faults(r));
	if (!password_place(r))
		return password_place_refused(r);
	return db_call(r, SQL_OPERATOR_PASSWORD_BEGIN, ARGS(BY_OPERATOR(r)), change_counted);
}

static outcome
change_counted(struct request *r, const struct rows *rows)
{
	r->password_hash = request_keep(r, rows_text(rows, "password_hash"));
	r->attempt_email = request_keep(r, rows_text(rows, "email"));
	return password_check(r, body_text(r, "current_password"), r->password_hash, current_known);
}

static outcome
current_known(struct request *r, bool right)
{
	if (!right)
		return reply_problem(
		    r, PROBLEM_BAD_CREDENTIALS, "The present password is another one.");
	if (!password_taken(r, "new_password", r->attempt_email))
		return db_call(
		    r, SQL_OPERATOR_ATTEMPT_UNDO, ARGS(r->attempt_email), change_refused);
	return password_make(r, body_text(r, "new_password"), change_hashed);
}

/* He did know the present one. */
static outcome
change_refused(struct request *r, const struct rows *rows)
{
	return reply_faults(r, PROBLEM_INVALID_REQUEST, request_faults(r));
}

static outcome
change_hashed(struct request *r, const char *hash)
{
	return db_call(r, SQL_OPERATOR_PASSWORD_CHANGE,
	    ARGS(r->password_hash, request_keep(r, hash), BY_OPERATOR(r)), password_changed);
}

static outcome
password_changed(struct request *r, const struct rows *rows)
{
	return reply_empty(r, 204);
}
