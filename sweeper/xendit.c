/*
 * xendit: invoices of Xendit, API version 2: https://api.xendit.co/v2/invoices, Basic authentication with the secret key as the
 * name and no password.
 *
 *   PAYMENT_FIND   GET  /v2/invoices?external_id=<our id>      an array of invoices
 *   PAYMENT_OPEN   POST /v2/invoices {external_id, amount, …}  the invoice
 *   PAYMENT_LOOK   GET  /v2/invoices/<its id>                  the invoice
 *   PAYMENT_CLOSE  POST /invoices/<its id>/expire!             the invoice
 *
 * Their statuses: PENDING, PAID, SETTLED (paid, and the money is ours), EXPIRED.
 */
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "common/config.h"
#include "common/http_client.h"
#include "common/json.h"
#include "common/log.h"
#include "sweeper/payment_provider.h"

#define TIMEOUT_MS 10000

static const char *
xendit_fault(const struct config *config)
{
	return config->xendit_secret_key[0] == '\0' ? "XENDIT_SECRET_KEY is not set" : NULL;
}

static const char *
authorization(const struct config *config, struct arena *arena)
{
	const char *pair = arena_printf(arena, "%s:", config->xendit_secret_key);
	size_t length = strlen(pair);
	char *encoded = arena_alloc(arena, 4 * ((length + 2) / 3) + 1);

	EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)pair, (int)length);
	return arena_printf(arena, "Authorization: Basic %s", encoded);
}

static const char *
opening(struct arena *arena, const struct payment_order *order)
{
	struct json_writer *writer = json_writer_new(arena);

	json_object(writer);
	json_put_string(writer, "external_id", order->id);
	json_key(writer, "amount");
	json_raw(writer, order->amount);
	json_put_string(writer, "currency", order->currency);
	json_put_string(writer, "description", arena_printf(arena, "%s minutes", order->minutes));
	json_key(writer, "invoice_duration");
	json_raw(writer, order->expires_in_seconds);
	json_close(writer);
	return json_text(writer, NULL);
}

static const char *
url_of(const struct config *config, struct arena *arena, enum payment_question question,
    const struct payment_order *order)
{
	const char *base = config->xendit_base_url;

	switch (question) {
	case PAYMENT_FIND:
		return arena_printf(arena, "%s/v2/invoices?external_id=%s", base, order->id);
	case PAYMENT_OPEN:
		return arena_printf(arena, "%s/v2/invoices", base);
	case PAYMENT_LOOK:
		return arena_printf(arena, "%s/v2/invoices/%s", base, order->external_id);
	case PAYMENT_CLOSE:
		return arena_printf(arena, "%s/invoices/%s/expire!", base, order->external_id);
	}
	fatal("xendit: no such question: %d", (int)question);
}

static void
xendit_ask(const struct config *config, struct arena *arena, enum payment_question question,
    const struct payment_order *order, struct http_exchange *exchange)
{
	const char **headers = arena_alloc(arena, 3 * sizeof(*headers));

	headers[0] = authorization(config, arena);
	headers[1] = "Content-Type: application/json";
	*exchange = (struct http_exchange){
		.url = url_of(config, arena, question, order),
		.headers = headers,
		.body = question == PAYMENT_OPEN    ? opening(arena, order)
			: question == PAYMENT_CLOSE ? "{}"
						    : NULL,
		.timeout_ms = TIMEOUT_MS,
	};
}

static const char *
text_of(const struct json *object, const char *key)
{
	const struct json *value = json_member(object, key);

	return value != NULL && value->type == JSON_STRING ? value->text : NULL;
}

/* Of several invoices of ours, if there ever are, the one that was paid. */
static const struct json *
best_of(const struct json *array, const char *id)
{
	const struct json *best = NULL;

	for (const struct json *one = array->first; one != NULL; one = one->next) {
		const char *external_id, *status;

		if (one->type != JSON_OBJECT)
			continue;
		external_id = text_of(one, "external_id");
		status = text_of(one, "status");
		if (external_id == NULL || status == NULL || strcmp(external_id, id) != 0)
			continue;
		if (best == NULL || strcmp(status, "PAID") == 0 || strcmp(status, "SETTLED") == 0)
			best = one;
	}
	return best;
}

/* An id goes into the path of the next question, so nothing else may pass for one. */
static bool
is_id(const char *text)
{
	static const char characters[] =
	    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";

	return text != NULL && text[0] != '\0' && strlen(text) <= 100 &&
	       text[strspn(text, characters)] == '\0';
}

/* What it has against the question: {"error_code":"UNSUPPORTED_CURRENCY",…}.  Nothing but such a word goes into the log. */
static const char *
refusal(struct arena *arena, const struct http_answer *answer)
{
	const char *error, *code = NULL;
	const struct json *json = json_parse(arena, answer->body, answer->length, &error);

	if (json != NULL && json->type == JSON_OBJECT)
		code = text_of(json, "error_code");
	if (code == NULL || strlen(code) > 60 ||
	    code[strspn(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_")] != '\0')
		code = "";
	return arena_printf(arena, "it answered %ld %s", answer->status, code);
}

static const char *
xendit_read(struct arena *arena, enum payment_question question, const struct payment_order *order,
    const struct http_answer *answer, struct payment_invoice *invoice)
{
	const struct json *json;
	const char *error, *status;
	struct json_writer *writer;

	*invoice = (struct payment_invoice){ 0 };
	if (answer->status == 404 && question == PAYMENT_FIND)
		return NULL;
	if (answer->status < 200 || answer->status > 299)
		return refusal(arena, answer);
	json = json_parse(arena, answer->body, answer->length, &error);
	if (json == NULL)
		return error;
	if (question == PAYMENT_FIND && json->type == JSON_ARRAY) {
		json = best_of(json, order->id);
		if (json == NULL)
			return NULL;
	}
	if (json->type != JSON_OBJECT || (status = text_of(json, "status")) == NULL ||
	    !is_id(text_of(json, "id")))
		return "its answer is no invoice";
	writer = json_writer_new(arena);
	json_value(writer, json);
	invoice->json = json_text(writer, NULL);
	invoice->external_id = text_of(json, "id");
	invoice->open = strcmp(status, "PENDING") == 0;
	return NULL;
}

const struct payment_provider xendit = { "xendit", xendit_fault, xendit_ask, xendit_read };
