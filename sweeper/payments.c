/*
 * payments: the errands to those who collect money.
 *
 * PostgreSQL says about which payments a provider must be asked (payments_claim), and what it says about them goes there
 * (payment_learn).  The way in between may take long, so this process does not wait on it: an errand goes by the
 * callbacks of the HTTP client, and when it is over, the main loop takes up its result.
 *
 * An errand for a payment that was asked about before begins with a look whether the provider knows it: the answer to
 * the first may have been lost, and a second invoice would be paid twice.  Whatever goes wrong, the payment's next turn
 * has been set when it was claimed.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/counters.h"
#include "common/http_client.h"
#include "common/log.h"
#include "common/pg.h"
#include "sweeper/payment_provider.h"
#include "sweeper/sweeper.h"

#define ERRANDS_MOST  16 /* what the HTTP client does at a time */
#define TAKES_MOST    50 /* of a result whose session somebody holds; then it is asked for anew */
#define TAKE_AGAIN_MS 100

static const struct payment_provider *const providers[] = { &xendit };

struct errand {
	TAILQ_ENTRY(errand) entry; /* while it is over */
	struct payments *payments;
	const struct payment_provider *provider;
	struct arena arena;
	struct payment_order order;
	enum payment_question question;
	const char *invoice; /* the result; NULL: there is none */
	int takes;           /* so often has it been tried to store that */
};

TAILQ_HEAD(errands, errand);

struct payments {
	struct sweeper *sweeper;
	struct http_client *http;
	size_t count; /* errands, over or not */
	struct errands over;
	bool closing;
};

static http_done_fn answered;

struct payments *
payments_new(struct sweeper *s)
{
	struct payments *payments = calloc(1, sizeof(*payments));

	if (payments == NULL)
		fatal("out of memory");
	payments->sweeper = s;
	payments->http = http_client_new(s->base, s->config->https_ca_file);
	TAILQ_INIT(&payments->over);
	return payments;
}

static void
errand_free(struct errand *errand)
{
	errand->payments->count--;
	arena_free(&errand->arena);
	free(errand);
}

void
payments_free(struct payments *payments)
{
	struct errand *errand;

	payments->closing = true;
	http_client_free(payments->http);
	while ((errand = TAILQ_FIRST(&payments->over)) != NULL) {
		TAILQ_REMOVE(&payments->over, errand, entry);
		errand_free(errand);
	}
	free(payments);
}

static void
ask(struct errand *errand, enum payment_question question)
{
	struct payments *payments = errand->payments;
	struct http_exchange exchange;

	counters.payments_asked++;
	errand->question = question;
	errand->provider->ask(
	    payments->sweeper->config, &errand->arena, question, &errand->order, &exchange);
	http_client_send(payments->http, &exchange, answered, errand);
}

static void
errand_failed(struct errand *errand, const char *reason)
{
	if (!errand->payments->closing) {
		counters.payments_unanswered++;
		log_event(SEVERITY_WARNING, LOG_FIELDS(LOG_TEXT("payment_id", errand->order.id)),
		    "[payments] %s could not be asked, it will be again: %s",
		    errand->provider->name, reason);
	}
	errand_free(errand);
}

static void
errand_over(struct errand *errand, const char *invoice)
{
	errand->invoice = invoice;
	TAILQ_INSERT_TAIL(&errand->payments->over, errand, entry);
}

static void
answered(void *argument, const char *error, const struct http_answer *answer)
{
	struct errand *errand = argument;
	struct payment_invoice invoice;

	if (error == NULL)
		error = errand->provider->read(
		    &errand->arena, errand->question, &errand->order, answer, &invoice);
	if (error != NULL) {
		errand_failed(errand, error);
		return;
	}
	if (invoice.json == NULL && !errand->order.closed) {
		ask(errand, PAYMENT_OPEN);
		return;
	}
	if (invoice.json != NULL && invoice.open && errand->order.closed &&
	    errand->question != PAYMENT_CLOSE) {
		errand->order.external_id = invoice.external_id;
		ask(errand, PAYMENT_CLOSE);
		return;
	}
	errand_over(errand, invoice.json);
}

static const struct payment_provider *
provider_of(const char *name)
{
	for (size_t i = 0; i < sizeof(providers) / sizeof(*providers); i++)
		if (strcmp(providers[i]->name, name) == 0)
			return providers[i];
	return NULL;
}

static const char *
kept(struct errand *errand, const struct rows *rows, int row, const char *column)
{
	const char *text = rows_text_at(rows, row, column);

	return text == NULL ? NULL : arena_strdup(&errand->arena, text);
}

static void
errand_begin(struct payments *payments, const struct payment_provider *provider,
    const struct rows *rows, int row)
{
	struct errand *errand = calloc(1, sizeof(*errand));
	struct payment_order *order;
	const char *fault = provider->fault(payments->sweeper->config);

	if (errand == NULL)
		fatal("out of memory");
	payments->count++;
	errand->payments = payments;
	errand->provider = provider;
	order = &errand->order;
	*order = (struct payment_order){
		.id = kept(errand, rows, row, "payment"),
		.external_id = kept(errand, rows, row, "external_id"),
		.amount = kept(errand, rows, row, "amount"),
		.currency = kept(errand, rows, row, "currency"),
		.minutes = kept(errand, rows, row, "minutes"),
		.expires_in_seconds = kept(errand, rows, row, "expires_in_seconds"),
		.closed = rows_flag_at(rows, row, "closed"),
		.first = rows_flag_at(rows, row, "first"),
	};
	if (fault != NULL)
		errand_failed(errand, fault);
	else
		ask(errand, order->external_id != NULL ? PAYMENT_LOOK
			    : order->first             ? PAYMENT_OPEN
						       : PAYMENT_FIND);
}

void
payments_ask(struct sweeper *s)
{
	struct payments *payments = s->payments;
	struct arena arena = { 0 };
	struct rows *rows;

	if (payments == NULL || payments->count >= ERRANDS_MOST)
		return;
	if (!sweeper_query(s, SQL_PAYMENTS_CLAIM, 1,
		(const char *[]){ arena_printf(&arena, "%zu", ERRANDS_MOST - payments->count) },
		&rows)) {
		log_warning("[payments] failed: %s", s->error);
	} else {
		for (int row = 0; row < rows_count(rows); row++) {
			const struct payment_provider *provider = provider_of(
			    rows_text_at(rows, row, "provider"));

			if (provider != NULL)
				errand_begin(payments, provider, rows, row);
		}
		rows_free(rows);
	}
	arena_free(&arena);
}

void
payments_take(struct sweeper *s)
{
	struct payments *payments = s->payments;
	struct errands busy = TAILQ_HEAD_INITIALIZER(busy);
	struct errand *errand;

	while ((errand = TAILQ_FIRST(&payments->over)) != NULL) {
		TAILQ_REMOVE(&payments->over, errand, entry);
		if (transition(s, SQL_PAYMENT_LEARN, 2,
			(const char *[]){ errand->order.id, errand->invoice }) == TRANSITION_NONE &&
		    ++errand->takes < TAKES_MOST)
			TAILQ_INSERT_TAIL(&busy, errand, entry);
		else
			errand_free(errand);
	}
	if (!TAILQ_EMPTY(&busy))
		deadlines_look_within(s, TAKE_AGAIN_MS);
	TAILQ_CONCAT(&payments->over, &busy, entry);
}
