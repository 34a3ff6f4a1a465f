/*
 * operator_sign_in: operators sign in to the control center by e-mail address and password.
 *
 * The access token goes into the body, the refresh token into a cookie that no script can read.  So these
 * routes refuse a page of a foreign origin.
 */
#include "common/config.h"
#include "common/pg.h"
#include "server/client_address.h"
#include "server/cookie.h"
#include "server/cors.h"
#include "server/sign_in/rate_limit.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"
#include "server/sign_in/session_reply.h"

#define DOOR        "{operator}"
#define DAY_SECONDS 86400L

static outcome
foreign_refused(struct request *r)
{
	return reply_problem(
	    r, PROBLEM_FORBIDDEN, "This page's origin may not sign anybody in or out.");
}

static outcome
signed_in(struct request *r, const struct rows *rows, const char *refresh_token)
{
	cookie_set(r, refresh_token, r->worker->config->refresh_token_ttl_days * DAY_SECONDS);
	return session_reply(r, 200, rows, NULL);
}

/*
 * POST /internal/auth/login {email, password}.
 *
 * The attempt is counted before the password is checked, so it must not be begun if there is no place to
 * check it at.  An address that nobody has takes the same way, and the same time, to the same answer.
 */
static step_fn login_admitted;
static rows_fn attempt_counted;
static flag_fn password_known;
static rows_fn login_finished;

outcome
operator_login(struct request *r)
{
	if (cors_foreign(r))
		return foreign_refused(r);
	return rate_limit(r, RATE_LOGIN, client_network(r), login_admitted);
}

static outcome
login_admitted(struct request *r)
{
	if (!password_place(r))
		return password_place_refused(r);
	return db_call(r, SQL_OPERATOR_LOGIN_BEGIN, ARGS(body_text(r, "email")), attempt_counted);
}

static outcome
attempt_counted(struct request *r, const struct rows *rows)
{
	r->operator_id = request_keep(r, rows_text(rows, "operator_id"));
	r->attempt_email = body_text(r, "email");
	r->password_hash = request_keep(r, rows_text(rows, "password_hash"));
	return password_check(r, body_text(r, "password"), r->password_hash, password_known);
}

static outcome
password_known(struct request *r, bool right)
{
	struct refresh_token token;

	if (!right)
		return reply_problem(r, PROBLEM_BAD_CREDENTIALS, NULL);
	refresh_token_new(&token);
	r->answer = request_keep(r, token.text);
	return db_call(r, SQL_OPERATOR_LOGIN_FINISH,
	    ARGS(
		r->operator_id, r->password_hash, request_keep(r, token.hash), session_ttl_days(r)),
	    login_finished);
}

static outcome
login_finished(struct request *r, const struct rows *rows)
{
	return signed_in(r, rows, r->answer);
}

/* POST /internal/auth/refresh: a new access token, and the successor of the cookie. */
static step_fn refresh_admitted;
static rows_fn cookie_exchanged;

outcome
operator_refresh(struct request *r)
{
	if (cors_foreign(r))
		return foreign_refused(r);
	return rate_limit(r, RATE_REFRESH, client_network(r), refresh_admitted);
}

static outcome
refresh_admitted(struct request *r)
{
	const char *token = cookie_read(r);

	if (token == NULL)
		return reply_problem(
		    r, PROBLEM_REFRESH_INVALID, "There is no refresh token; sign in.");
	return session_refresh(r, token, DOOR, cookie_exchanged);
}

static outcome
cookie_exchanged(struct request *r, const struct rows *rows)
{
	return signed_in(r, rows, session_successor(r, cookie_read(r), rows));
}

/* POST /internal/auth/logout: the session of the access token, and that of the cookie, which is the same as a rule. */
static step_fn logout_admitted;
static rows_fn session_ended;

outcome
operator_logout(struct request *r)
{
	if (cors_foreign(r))
		return foreign_refused(r);
	return rate_limit(r, RATE_REFRESH, client_network(r), logout_admitted);
}

static outcome
logout_admitted(struct request *r)
{
	const char *token = cookie_read(r);
	char hash[REFRESH_HASH_SIZE];

	refresh_token_hash(token == NULL ? "" : token, hash);
	return db_call(
	    r, SQL_OPERATOR_LOGOUT, ARGS(request_session(r), request_keep(r, hash)), session_ended);
}

static outcome
session_ended(struct request *r, const struct rows *rows)
{
	cookie_set(r, "", 0);
	return reply_empty(r, 204);
}

/* GET /internal/auth/me */
outcome
operator_me(struct request *r)
{
	return db_call(r, SQL_OPERATOR_ME, ARGS(BY_OPERATOR(r)), reply_answer);
}
