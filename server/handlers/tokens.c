/*
 * tokens: what apps do with the refresh token that every sign-in gave them.
 */
#include "common/pg.h"
#include "server/client_address.h"
#include "server/sign_in/rate_limit.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"
#include "server/sign_in/session_reply.h"

/* Whose tokens are taken here; operators have a cookie and a listener of their own. */
#define DOORS "{mitra,customer}"

/* POST /api/shared/auth/refresh {refresh_token}: a new access token, and the successor of this refresh token. */
static step_fn refresh_admitted;
static rows_fn token_exchanged;

outcome
tokens_refresh(struct request *r)
{
	return rate_limit(r, RATE_REFRESH, client_network(r), refresh_admitted);
}

static outcome
refresh_admitted(struct request *r)
{
	return session_refresh(r, body_text(r, "refresh_token"), DOORS, token_exchanged);
}

static outcome
token_exchanged(struct request *r, const struct rows *rows)
{
	return session_reply(
	    r, 200, rows, session_successor(r, body_text(r, "refresh_token"), rows));
}

/* POST /api/shared/auth/logout {refresh_token}: this device only. */
static step_fn logout_admitted;
static rows_fn session_ended;

outcome
tokens_logout(struct request *r)
{
	return rate_limit(r, RATE_REFRESH, client_network(r), logout_admitted);
}

static outcome
logout_admitted(struct request *r)
{
	return session_revoke(r, body_text(r, "refresh_token"), DOORS, session_ended);
}

static outcome
session_ended(struct request *r, const struct rows *rows)
{
	return reply_empty(r, 204);
}
