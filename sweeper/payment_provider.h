/*
 * payment_provider: what a service that collects money must be able to say, as functions without a state.
 *
 * `none` and `manual` are no such services: with the one nothing is paid, with the other an operator confirms each payment.
 */
#ifndef SWEEPER_PAYMENT_PROVIDER_H
#define SWEEPER_PAYMENT_PROVIDER_H

#include <stdbool.h>

#include "common/arena.h"

struct config;
struct http_answer;
struct http_exchange;

/* What there is to collect. */
struct payment_order {
	const char *id;          /* ours */
	const char *external_id; /* the provider's; NULL: not known */
	const char *amount, *currency;
	const char *minutes;
	const char *expires_in_seconds;
	bool closed; /* nobody waits for the money any more */
	bool first;  /* it was never asked for before */
};

enum payment_question {
	PAYMENT_FIND,  /* is there an invoice for our id? */
	PAYMENT_OPEN,  /* make one */
	PAYMENT_LOOK,  /* how is the one with that external_id? */
	PAYMENT_CLOSE, /* it shall no longer be paid */
};

/* What was found out: the invoice as JSON (schema/functions/89_collecting.sql), NULL if there is none. */
struct payment_invoice {
	const char *json;
	const char *external_id;
	bool open; /* it can still be paid */
};

struct payment_provider {
	const char *name;
	/* Why it cannot be asked; NULL if it can. */
	const char *(*fault)(const struct config *);
	/* The question as a request; everything in the arena. */
	void (*ask)(const struct config *, struct arena *, enum payment_question,
	    const struct payment_order *, struct http_exchange *);
	/* Why the answer is of no use; NULL: *invoice says what it is. */
	const char *(*read)(struct arena *, enum payment_question, const struct payment_order *,
	    const struct http_answer *, struct payment_invoice *);
};

extern const struct payment_provider xendit;

#endif
