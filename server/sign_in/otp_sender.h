/*
 * otp_sender: how a one-time code gets to a phone.
 *
 * One of three, by OTP_SENDER: `log` writes it into the log, for trying things out; `webhook` posts it, signed, to a service of
 * the operator's (otp_webhook.c); `fazpass` has it made, sent and checked by Fazpass (otp_fazpass.c).
 *
 * Messages go out in the background (otp_delivery.c), after the request has been answered: so nobody learns from the
 * answer's time whether a phone is known here.
 */
#ifndef SERVER_OTP_SENDER_H
#define SERVER_OTP_SENDER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/arena.h"
#include "server/step.h"

struct config;
struct request;
struct worker;

/* A message on its way; everything in it lives in its arena. */
struct otp_message {
	struct arena arena;
	struct worker *worker;
	const char *otp_request_id;
	const char *user_type; /* "mitra", "customer" */
	const char *phone;     /* E.164 */
	const char *code;      /* if the code is ours */
	int expires_in_seconds;
	const char *request_id; /* for the log */

	int attempts;
	struct event *again;
	struct otp_message *next; /* on their way; owned by otp_delivery.c */
};

enum otp_sent {
	OTP_SENT,
	OTP_REFUSED, /* no use to try again */
	OTP_FAILED,  /* it may go better next time */
};

/* `why` is for a log line; `reference` is what the provider calls the code it has made, else NULL. */
typedef void
otp_sent_fn(struct otp_message *, enum otp_sent, const char *why, const char *reference);

struct otp_sender {
	const char *name; /* as in OTP_SENDER */
	/* Ends in one call of the function, at once or later. */
	void (*send)(struct otp_message *, otp_sent_fn *);
	/*
	 * Where the provider makes the code: is it that one?  `next` gets the answer; if there is none in time, the
	 * request is answered 503.  NULL: the code is ours.
	 */
	outcome (*check)(struct request *, const char *reference, const char *code, flag_fn *next);
};

/* By OTP_SENDER; NULL: none, nobody can sign in by a code. */
const struct otp_sender *otp_sender_of(const struct config *);

extern const struct otp_sender otp_webhook;
extern const struct otp_sender otp_fazpass;

/*
 * Takes the message and sends it soon, but not now: with three attempts and a log line if all of them failed.  It must have been
 * allocated by otp_message_new().
 */
struct otp_message *otp_message_new(struct worker *);
void otp_deliver(struct otp_message *);
/* Those that are waiting to be sent again are given up. Once no http_client is there any more. */
void otp_deliveries_abandon(struct worker *);

#endif
