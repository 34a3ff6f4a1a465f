/*
 * otp: signing in by a code that is sent to the phone.
 *
 * Mitras and customers have doors of their own and the same steps behind them: a mitra must be registered, a customer is made
 * when a phone is proven for the first time.
 */
#include <string.h>

#include "common/pg.h"
#include "server/client_address.h"
#include "server/sign_in/otp_code.h"
#include "server/sign_in/otp_sender.h"
#include "server/sign_in/rate_limit.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"
#include "server/sign_in/session_reply.h"

static const char *
door_of(const struct request *r)
{
	return strncmp(r->route->path, "/api/mitra/", strlen("/api/mitra/")) == 0 ? "mitra"
										  : "customer";
}

/*
 * POST /api/client/auth/otp/request and /api/mitra/auth/otp/request {phone}.
 *
 * Every phone takes the same way to the same answer; the message, if somebody is to get it, is sent afterwards.
 */
static step_fn request_admitted;
static rows_fn request_stored;

outcome
otp_request(struct request *r)
{
	if (r->worker->otp_sender == NULL)
		return reply_problem(r, PROBLEM_NOT_FOUND, "Codes cannot be sent here.");
	return rate_limit(r, RATE_OTP_REQUEST, client_network(r), request_admitted);
}

static outcome
request_admitted(struct request *r)
{
	char id[REQUEST_ID_SIZE], code[OTP_CODE_SIZE];

	request_id_new(id);
	otp_code_new(code);
	r->answer = request_keep(r, code);
	return db_call(r, SQL_OTP_REQUEST,
	    ARGS(door_of(r), body_text(r, "phone"), client_network(r), request_keep(r, id),
		otp_code_hash(r, id, code)),
	    request_stored);
}

static void
message_send(struct request *r, const struct rows *rows)
{
	struct otp_message *message = otp_message_new(r->worker);

	message->otp_request_id = arena_strdup(&message->arena, rows_text(rows, "otp_request_id"));
	message->user_type = door_of(r);
	message->phone = arena_strdup(&message->arena, body_text(r, "phone"));
	message->code = arena_strdup(&message->arena, r->answer);
	message->expires_in_seconds = (int)rows_integer(rows, "expires_in");
	message->request_id = arena_strdup(&message->arena, r->id);
	otp_deliver(message);
}

static outcome
request_stored(struct request *r, const struct rows *rows)
{
	if (rows_flag(rows, "wanted"))
		message_send(r, rows);
	return reply_json(r, 202, rows_text(rows, "answer"));
}

/*
 * POST /api/client/auth/otp/verify and /api/mitra/auth/otp/verify {otp_request_id, code}.
 *
 * A customer's access token may come along: then that customer gets the phone, and keeps the history.
 */
static step_fn verify_admitted;
static rows_fn attempt_counted;
static flag_fn code_checked;
static rows_fn signed_in;

outcome
otp_verify(struct request *r)
{
	if (r->worker->otp_sender == NULL)
		return reply_problem(r, PROBLEM_NOT_FOUND, "Codes cannot be sent here.");
	return rate_limit(r, RATE_OTP_VERIFY, client_network(r), verify_admitted);
}

/* The code is ours: one statement. It is the provider's: the attempt is counted, then he is asked. */
static outcome
verify_admitted(struct request *r)
{
	const char *id = body_text(r, "otp_request_id");
	struct refresh_token token;

	if (r->worker->otp_sender->check != NULL)
		return db_call(r, SQL_OTP_ATTEMPT, ARGS(door_of(r), id), attempt_counted);
	refresh_token_new(&token);
	r->answer = request_keep(r, token.text);
	return db_call(r, SQL_OTP_VERIFY,
	    ARGS(door_of(r), id, otp_code_hashes(r, id, body_text(r, "code")),
		request_keep(r, token.hash), session_ttl_days(r), request_caller(r),
		request_session(r)),
	    signed_in);
}

static outcome
attempt_counted(struct request *r, const struct rows *rows)
{
	r->answer = request_keep(r, rows_text(rows, "attempts_left"));
	return r->worker->otp_sender->check(
	    r, rows_text(rows, "reference"), body_text(r, "code"), code_checked);
}

static outcome
code_checked(struct request *r, bool right)
{
	struct refresh_token token;

	if (!right)
		return reply_problem_more(r, PROBLEM_CODE_MISMATCH,
		    (struct problem_more){
			.members = arena_printf(&r->arena, "{\"attempts_left\":%s}", r->answer) });
	refresh_token_new(&token);
	r->answer = request_keep(r, token.text);
	return db_call(r, SQL_OTP_ACCEPT,
	    ARGS(door_of(r), body_text(r, "otp_request_id"), request_keep(r, token.hash),
		session_ttl_days(r), request_caller(r), request_session(r)),
	    signed_in);
}

static outcome
signed_in(struct request *r, const struct rows *rows)
{
	return session_reply(r, 200, rows, r->answer);
}
