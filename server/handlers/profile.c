/*
 * profile: customers without a name, and who one is oneself.
 */
#include "common/pg.h"
#include "server/client_address.h"
#include "server/sign_in/rate_limit.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"
#include "server/sign_in/session_reply.h"

/*
 * POST /api/shared/auth/anonymous {display_name?}: a new customer, who can later be given a phone or another identity
 * and stays the same.
 */
static step_fn anonymous_admitted;
static rows_fn customer_made;

outcome
profile_anonymous(struct request *r)
{
	return rate_limit(r, RATE_ANONYMOUS, client_network(r), anonymous_admitted);
}

static outcome
anonymous_admitted(struct request *r)
{
	struct refresh_token token;

	refresh_token_new(&token);
	r->answer = request_keep(r, token.text);
	return db_call(r, SQL_CUSTOMER_ANONYMOUS,
	    ARGS(body_text(r, "display_name"), request_keep(r, token.hash), session_ttl_days(r)),
	    customer_made);
}

static outcome
customer_made(struct request *r, const struct rows *rows)
{
	return session_reply(r, 201, rows, r->answer);
}

/* GET /api/client/auth/me, PATCH /api/client/auth/profile {display_name}, GET /api/mitra/auth/me */
outcome
profile_customer(struct request *r)
{
	return db_call(r, SQL_CUSTOMER_GET, ARGS(r->caller.id), reply_answer);
}

outcome
profile_customer_update(struct request *r)
{
	return db_call(
	    r, SQL_CUSTOMER_UPDATE, ARGS(r->caller.id, body_text(r, "display_name")), reply_answer);
}

outcome
profile_mitra(struct request *r)
{
	return db_call(r, SQL_MITRA_PROFILE, ARGS(r->caller.id), reply_answer);
}
