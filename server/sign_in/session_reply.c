/* session_reply: signs the access token and writes the answer; and the exchange of refresh tokens, which two doors share. */
#include "server/sign_in/session_reply.h"

#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "common/log.h"
#include "common/pg.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/sign_in/token.h"

const char *
session_ttl_days(struct request *r)
{
	return arena_printf(&r->arena, "%d", r->worker->config->refresh_token_ttl_days);
}

static struct caller
caller_of(const struct rows *rows)
{
	const char *type = rows_text(rows, "user_type"), *role = rows_text(rows, "role");
	struct caller caller = {
		.type = strcmp(type, "mitra") == 0      ? USER_MITRA
			: strcmp(type, "customer") == 0 ? USER_CUSTOMER
							: USER_OPERATOR,
		.role = role == NULL                 ? OPERATOR_NOT
			: strcmp(role, "admin") == 0 ? OPERATOR_ADMIN
						     : OPERATOR_AGENT,
	};
	const char *id = rows_text(rows, "user_id"), *session_id = rows_text(rows, "session_id");

	if (!uuid_parse(id, strlen(id), caller.id) ||
	    !uuid_parse(session_id, strlen(session_id), caller.session_id))
		fatal("a sign-in has no ids");
	return caller;
}

const char *
session_answer(struct request *r, const struct rows *rows, const char *refresh_token)
{
	long ttl_seconds = r->worker->config->access_token_ttl_seconds;
	struct json_writer *writer = json_writer_new(&r->arena);
	struct caller caller = caller_of(rows);
	char *token = token_issue(r->worker->token_keys, &caller, ttl_seconds);

	json_object(writer);
	json_put_string(writer, "access_token", token);
	json_put_integer(writer, "expires_in", ttl_seconds);
	if (refresh_token != NULL)
		json_put_string(writer, "refresh_token", refresh_token);
	json_key(writer, "user");
	json_raw(writer, rows_text(rows, "document"));
	json_close(writer);
	explicit_bzero(token, strlen(token));
	free(token);
	return json_text(writer, NULL);
}

outcome
session_reply(struct request *r, int status, const struct rows *rows, const char *refresh_token)
{
	return reply_json(r, status, session_answer(r, rows, refresh_token));
}

outcome
session_refresh(struct request *r, const char *token, const char *doors, rows_fn *next)
{
	struct refresh_token successor;
	char salt[REFRESH_TOKEN_SIZE], hash[REFRESH_HASH_SIZE];

	refresh_token_salt(salt);
	refresh_token_hash(token, hash);
	refresh_token_successor(token, salt, &successor);
	return db_call(r, SQL_AUTH_SESSION_REFRESH,
	    ARGS(request_keep(r, hash), request_keep(r, successor.hash), request_keep(r, salt),
		session_ttl_days(r), doors),
	    next);
}

const char *
session_successor(struct request *r, const char *token, const struct rows *rows)
{
	struct refresh_token successor;

	refresh_token_successor(token, rows_text(rows, "successor_salt"), &successor);
	return request_keep(r, successor.text);
}

outcome
session_revoke(struct request *r, const char *token, const char *doors, rows_fn *next)
{
	char hash[REFRESH_HASH_SIZE];

	refresh_token_hash(token, hash);
	return db_call(r, SQL_AUTH_SESSION_REVOKE, ARGS(request_keep(r, hash), doors), next);
}
