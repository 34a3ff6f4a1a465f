/*
 * identities: signing in by an ID token of Google's or Apple's.
 *
 * POST /api/shared/auth/google and /apple {id_token, nonce}.  The app has got the token from the provider, with a nonce of its
 * own.  A customer's access token may come along: then that customer gets the identity, and keeps the history.
 */
#include "common/clock.h"
#include "common/config.h"
#include "common/pg.h"
#include "server/client_address.h"
#include "server/sign_in/id_token.h"
#include "server/sign_in/jwks.h"
#include "server/sign_in/rate_limit.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"
#include "server/sign_in/session_reply.h"

static step_fn identity_admitted;
static key_fn key_found;
static rows_fn signed_in;

struct provider {
	const char *column; /* of customers */
	const char *client_ids;
	const char *issuers;
	struct jwks *jwks;
};

static struct provider
provider_of(const struct request *r)
{
	const struct config *config = r->worker->config;

	if (r->route->handler == identities_google)
		return (struct provider){ "google_sub", config->google_client_ids,
			config->google_issuers, r->worker->google_keys };
	return (struct provider){ "apple_sub", config->apple_client_ids, config->apple_issuers,
		r->worker->apple_keys };
}

static outcome
identity_begun(struct request *r)
{
	if (provider_of(r).client_ids[0] == '\0')
		return reply_problem(r, PROBLEM_NOT_FOUND, "This provider is not configured here.");
	return rate_limit(r, RATE_IDENTITY, client_network(r), identity_admitted);
}

outcome
identities_google(struct request *r)
{
	return identity_begun(r);
}

outcome
identities_apple(struct request *r)
{
	return identity_begun(r);
}

static outcome
identity_admitted(struct request *r)
{
	struct id_token token;

	if (!id_token_read(&r->arena, body_text(r, "id_token"), &token))
		return reply_problem(r, PROBLEM_ID_TOKEN_INVALID, NULL);
	return jwks_find(r, provider_of(r).jwks, token.key_id, key_found);
}

/* The token is read once more: a request has no place to keep it, and that is cheaper than its signature by far. */
static outcome
key_found(struct request *r, struct evp_pkey_st *key)
{
	struct provider provider = provider_of(r);
	struct id_token_wanted wanted = {
		.issuers = provider.issuers,
		.client_ids = provider.client_ids,
		.nonce = body_text(r, "nonce"),
		.now_seconds = clock_wall_ms() / 1000,
	};
	struct refresh_token refresh;
	struct id_token token;
	const char *fault;

	if (key == NULL || !id_token_read(&r->arena, body_text(r, "id_token"), &token) ||
	    !id_token_signed_by(&token, key))
		return reply_problem(r, PROBLEM_ID_TOKEN_INVALID, NULL);
	fault = id_token_fault(&token, &wanted);
	if (fault != NULL)
		return reply_problem(r, PROBLEM_ID_TOKEN_INVALID, fault);
	refresh_token_new(&refresh);
	r->answer = request_keep(r, refresh.text);
	return db_call(r, SQL_IDENTITY_SIGN_IN,
	    ARGS(provider.column, id_token_subject(&token), id_token_email(&token),
		id_token_name(&r->arena, &token), request_caller(r), request_session(r),
		request_keep(r, refresh.hash), session_ttl_days(r)),
	    signed_in);
}

static outcome
signed_in(struct request *r, const struct rows *rows)
{
	return session_reply(r, 200, rows, r->answer);
}
