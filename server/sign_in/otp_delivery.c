/*
 * otp_delivery: messages on their way, in the background of the worker.
 *
 * Each is tried at most ATTEMPTS_MAX times, with pauses that together are shorter than anybody waits for a code.  What
 * the provider calls its code is stored when it is known.
 */
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/pg.h"
#include "server/sign_in/otp_sender.h"
#include "server/worker.h"

#define ATTEMPTS_MAX 3

/* Before each attempt. The first lets the answer of the request go out before the work begins. */
static const int pauses_ms[ATTEMPTS_MAX] = { 1, 500, 2000 };

static otp_sent_fn attempt_ended;

static void
message_free(struct otp_message *message)
{
	struct otp_message **at = &message->worker->deliveries;

	while (*at != message)
		at = &(*at)->next;
	*at = message->next;
	event_free(message->again);
	arena_wipe(&message->arena);
	arena_free(&message->arena);
	free(message);
}

static void
attempt(evutil_socket_t fd, short what, void *argument)
{
	struct otp_message *message = argument;

	message->attempts++;
	message->worker->otp_sender->send(message, attempt_ended);
}

struct otp_message *
otp_message_new(struct worker *worker)
{
	struct otp_message *message = calloc(1, sizeof(*message));

	if (message == NULL)
		fatal("out of memory");
	message->worker = worker;
	message->again = evtimer_new(worker->base, attempt, message);
	if (message->again == NULL)
		fatal("out of memory");
	message->next = worker->deliveries;
	worker->deliveries = message;
	return message;
}

void
otp_deliver(struct otp_message *message)
{
	struct timeval pause = clock_timeval(pauses_ms[message->attempts]);

	evtimer_add(message->again, &pause);
}

static void
reference_stored(void *argument, enum pg_status status, const struct rows *rows)
{
	struct otp_message *message = argument;

	if (status != PG_OK)
		log_event(SEVERITY_ERROR, LOG_FIELDS(LOG_TEXT("request_id", message->request_id)),
		    "[otp] the provider's reference could not be stored, its code is void: %s",
		    pg_status_text(status));
	message_free(message);
}

static void
attempt_ended(
    struct otp_message *message, enum otp_sent sent, const char *why, const char *reference)
{
	const char *arguments[] = { message->otp_request_id, reference };

	if (sent == OTP_FAILED && message->attempts < ATTEMPTS_MAX) {
		log_event(SEVERITY_WARNING, LOG_FIELDS(LOG_TEXT("request_id", message->request_id)),
		    "[otp] attempt %d to send a code failed: %s", message->attempts, why);
		otp_deliver(message);
		return;
	}
	if (sent == OTP_SENT)
		counters.otp_sent++;
	else
		counters.otp_failed++;
	if (sent != OTP_SENT)
		log_event(SEVERITY_ERROR, LOG_FIELDS(LOG_TEXT("request_id", message->request_id)),
		    "[otp] a code was not sent by %s: %s", message->worker->otp_sender->name, why);
	if (sent == OTP_SENT && reference != NULL)
		pg_submit(
		    message->worker->pg, SQL_OTP_SENT, 2, arguments, reference_stored, message);
	else
		message_free(message);
}

void
otp_deliveries_abandon(struct worker *worker)
{
	while (worker->deliveries != NULL)
		message_free(worker->deliveries);
}
