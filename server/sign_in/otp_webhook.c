/*
 * otp_webhook: POSTs the code to OTP_WEBHOOK_URL.
 *
 *   X-Mitrad-Timestamp: 1767225600
 *   X-Mitrad-Signature: v1=<hexadecimal HMAC-SHA256, by OTP_WEBHOOK_SECRET, of "1767225600." and the body>
 *   {"otp_request_id","user_type","phone","code","expires_in_seconds"}
 *
 * The receiver checks the signature and that the timestamp is young, and answers with any 2xx.  The same otp_request_id
 * may come more than once, as an answer can get lost.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/http_client.h"
#include "common/json.h"
#include "common/log.h"
#include "server/sign_in/otp_sender.h"
#include "server/worker.h"

#define TIMEOUT_MS 5000 /* of an attempt */

struct webhook_call {
	struct otp_message *message;
	otp_sent_fn *done;
};

static const char *
body_of(struct otp_message *message)
{
	struct json_writer *writer = json_writer_new(&message->arena);

	json_object(writer);
	json_put_string(writer, "otp_request_id", message->otp_request_id);
	json_put_string(writer, "user_type", message->user_type);
	json_put_string(writer, "phone", message->phone);
	json_put_string(writer, "code", message->code);
	json_put_integer(writer, "expires_in_seconds", message->expires_in_seconds);
	json_close(writer);
	return json_text(writer, NULL);
}

static const char *
signature_of(struct otp_message *message, const char *secret, long now, const char *body)
{
	const char *text = arena_printf(&message->arena, "%ld.%s", now, body);
	unsigned char digest[EVP_MAX_MD_SIZE];
	char *hex = arena_alloc(&message->arena, 2 * EVP_MAX_MD_SIZE + 1);
	unsigned int length;

	if (HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)text,
		strlen(text), digest, &length) == NULL)
		fatal("OpenSSL has no HMAC");
	for (unsigned int i = 0; i < length; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	return hex;
}

/* 408 and 429 ask for patience; any other 4xx will be the same next time. */
static void
webhook_answered(void *argument, const char *error, const struct http_answer *answer)
{
	struct webhook_call *call = argument;
	struct otp_message *message = call->message;
	otp_sent_fn *done = call->done;
	bool refused;

	free(call);
	if (error != NULL) {
		done(message, OTP_FAILED, error, NULL);
		return;
	}
	refused = answer->status >= 300 && answer->status < 500 && answer->status != 408 &&
		  answer->status != 429;
	done(message,
	    answer->status >= 200 && answer->status < 300 ? OTP_SENT
	    : refused                                     ? OTP_REFUSED
							  : OTP_FAILED,
	    arena_printf(&message->arena, "the webhook answered %ld", answer->status), NULL);
}

static void
webhook_send(struct otp_message *message, otp_sent_fn *done)
{
	const struct config *config = message->worker->config;
	struct webhook_call *call = malloc(sizeof(*call));
	long now = (long)(clock_wall_ms() / 1000);
	const char *body = body_of(message);
	const char *const headers[] = {
		"Content-Type: application/json",
		arena_printf(&message->arena, "X-Mitrad-Timestamp: %ld", now),
		arena_printf(&message->arena, "X-Mitrad-Signature: v1=%s",
		    signature_of(message, config->otp_webhook_secret, now, body)),
		NULL,
	};
	struct http_exchange exchange = {
		.url = config->otp_webhook_url,
		.headers = headers,
		.body = body,
		.timeout_ms = TIMEOUT_MS,
	};

	if (call == NULL)
		fatal("out of memory");
	*call = (struct webhook_call){ message, done };
	http_client_send(message->worker->http_client, &exchange, webhook_answered, call);
}

const struct otp_sender otp_webhook = { .name = "webhook", .send = webhook_send };
