/*
 * payments: POST /public/payments/xendit/webhook: the provider says what became of an invoice.
 *
 * Who knows the token is the provider.  His message is stored as it came and answered at once; the sweeper, woken here, makes
 * something of it (schema/functions/89_collecting.sql).  So one that comes twice, too late, or in the wrong order does no
 * harm, and one that nobody understands can be looked at.
 */
#include <string.h>

#include <openssl/crypto.h>

#include "common/config.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

static rows_fn webhook_stored;
static step_fn sweeper_woken;

/* In a time that does not tell how much of it is right. */
static bool
token_is_right(const char *given, const char *token)
{
	return given != NULL && strlen(given) == strlen(token) &&
	       CRYPTO_memcmp(given, token, strlen(token)) == 0;
}

outcome
payments_xendit_webhook(struct request *r)
{
	const char *token = r->worker->config->xendit_callback_token;

	if (token[0] == '\0')
		return reply_problem(r, PROBLEM_NOT_FOUND, NULL);
	if (!token_is_right(request_header(r, "x-callback-token"), token))
		return reply_problem(
		    r, PROBLEM_UNAUTHENTICATED, "x-callback-token is not the one we expect.");
	return db_call(r, SQL_WEBHOOK_STORE, ARGS("xendit", body_json(r)), webhook_stored);
}

static outcome
webhook_stored(struct request *r, const struct rows *rows)
{
	return transition_publish(r, "setCapacity", rows, sweeper_woken);
}

static outcome
sweeper_woken(struct request *r)
{
	return reply_json(r, 200, "{}");
}
