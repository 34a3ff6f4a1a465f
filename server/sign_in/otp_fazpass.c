/*
 * otp_fazpass: Fazpass (doc.fazpass.com) makes the code, sends it by the channel of the gateway, and checks it.
 *
 *   POST /v1/otp/request {"phone","gateway_key"}  ->  {"status":true,"data":{"id":…}}   the id is our reference
 *   POST /v1/otp/verify  {"otp_id","otp"}         ->  {"status":true}                   or false, or a 4xx: the wrong code
 *
 * both with the merchant key as bearer.  An answer 401, 403, 429 or 5xx is about us or them, not about the code.
 */
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "common/http_client.h"
#include "common/json.h"
#include "common/log.h"
#include "server/sign_in/otp_sender.h"
#include "server/reply.h"
#include "server/request.h"

#define TIMEOUT_MS 8000

struct fazpass_call {
	struct otp_message *message;
	otp_sent_fn *done;
};

static void
fazpass_post(struct worker *worker, struct arena *arena, const char *path, const char *body,
    http_done_fn *done, void *argument)
{
	const struct config *config = worker->config;
	const char *const headers[] = {
		"Content-Type: application/json",
		arena_printf(arena, "Authorization: Bearer %s", config->fazpass_merchant_key),
		NULL,
	};
	struct http_exchange exchange = {
		.url = arena_printf(arena, "%s%s", config->fazpass_base_url, path),
		.headers = headers,
		.body = body,
		.timeout_ms = TIMEOUT_MS,
	};

	http_client_send(worker->http_client, &exchange, done, argument);
}

static const char *
pair_object(
    struct arena *arena, const char *key1, const char *value1, const char *key2, const char *value2)
{
	struct json_writer *writer = json_writer_new(arena);

	json_object(writer);
	json_put_string(writer, key1, value1);
	json_put_string(writer, key2, value2);
	json_close(writer);
	return json_text(writer, NULL);
}

/* The answer's object if it says `"status": true`, else NULL. */
static const struct json *
agreed(struct arena *arena, const struct http_answer *answer)
{
	const char *error;
	const struct json *json = json_parse(arena, answer->body, answer->length, &error);
	const struct json *status = json == NULL || json->type != JSON_OBJECT
					? NULL
					: json_member(json, "status");

	return answer->status >= 200 && answer->status < 300 && status != NULL &&
		       status->type == JSON_BOOLEAN && status->boolean
		   ? json
		   : NULL;
}

static const char *
reference_of(const struct json *agreement)
{
	const struct json *data = agreement == NULL ? NULL : json_member(agreement, "data");
	const struct json *id = data == NULL || data->type != JSON_OBJECT ? NULL
									  : json_member(data, "id");

	return id == NULL || id->type != JSON_STRING ? NULL : id->text;
}

/* Not tried again: a second request would send a second code, and the first would be void when it arrives. */
static void
code_requested(void *argument, const char *error, const struct http_answer *answer)
{
	struct fazpass_call *call = argument;
	struct otp_message *message = call->message;
	otp_sent_fn *done = call->done;
	const char *reference;

	free(call);
	if (error != NULL) {
		done(message, OTP_REFUSED, error, NULL);
		return;
	}
	reference = reference_of(agreed(&message->arena, answer));
	done(message, reference != NULL ? OTP_SENT : OTP_REFUSED,
	    arena_printf(
		&message->arena, "Fazpass answered %ld without an agreement", answer->status),
	    reference);
}

static void
fazpass_send(struct otp_message *message, otp_sent_fn *done)
{
	struct fazpass_call *call = malloc(sizeof(*call));

	if (call == NULL)
		fatal("out of memory");
	*call = (struct fazpass_call){ message, done };
	fazpass_post(message->worker, &message->arena, "/v1/otp/request",
	    pair_object(&message->arena, "phone", message->phone, "gateway_key",
		message->worker->config->fazpass_gateway_key),
	    code_requested, call);
}

static void
code_judged(void *argument, const char *error, const struct http_answer *answer)
{
	struct request *r = argument;
	long status = error == NULL ? answer->status : 0;

	if (error != NULL || status == 401 || status == 403 || status == 429 || status >= 500) {
		log_event(SEVERITY_ERROR, LOG_FIELDS(LOG_TEXT("request_id", r->id)),
		    "[otp] Fazpass could not check a code: %s",
		    error != NULL ? error : arena_printf(&r->arena, "it answered %ld", status));
		(void)reply_problem(r, PROBLEM_PROVIDER_UNAVAILABLE, NULL);
		return;
	}
	(void)r->next.flag(r, agreed(&r->arena, answer) != NULL);
}

static outcome
fazpass_check(struct request *r, const char *reference, const char *code, flag_fn *next)
{
	r->next.flag = next;
	fazpass_post(r->worker, &r->arena, "/v1/otp/verify",
	    pair_object(&r->arena, "otp_id", reference, "otp", code), code_judged, r);
	return step_waiting_();
}

const struct otp_sender otp_fazpass = {
	.name = "fazpass",
	.send = fazpass_send,
	.check = fazpass_check,
};
