/*
 * http_client: an exchange is in one list at a time: waiting (for its turn), active (with libcurl) or finished (until its
 * callback has run).  Callbacks run from the `deliver` event only: so never within http_client_send(), and never within
 * libcurl, which must not be called from its own callbacks.
 *
 * libcurl says by which sockets and until when it wants to be called; `watch` and `timer` tell libevent.
 */
#include "common/http_client.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include <curl/curl.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"

#define CACHE_CONTROL_SIZE 256

struct exchange {
	TAILQ_ENTRY(exchange) entry;
	struct http_client *client;
	CURL *easy;
	struct curl_slist *headers;
	char *url, *request; /* NULL: a GET */
	int64_t deadline_ms;
	char *answer; /* `length` bytes and a NUL */
	size_t length;
	char cache_control[CACHE_CONTROL_SIZE];
	char reason[CURL_ERROR_SIZE]; /* libcurl's words */
	const char *error;
	http_done_fn *done;
	void *argument;
};

TAILQ_HEAD(exchanges, exchange);

struct http_client {
	struct event_base *base;
	CURLM *multi;
	struct event *timer;   /* libcurl's */
	struct event *deliver; /* something is finished, or may begin */
	char *ca_file;
	struct exchanges waiting, active, finished;
	size_t waiting_count, active_count;
};

static void deliver_due(evutil_socket_t, short, void *);

/* ---------------------------------------------------------------- libcurl and libevent */

static void
harvest(struct http_client *client)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
		CURLcode result = message->data.result;
		struct exchange *exchange;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&exchange);
		curl_multi_remove_handle(client->multi, exchange->easy);
		if (result != CURLE_OK && exchange->error == NULL)
			exchange->error = exchange->reason[0] != '\0' ? exchange->reason
								      : curl_easy_strerror(result);
		TAILQ_REMOVE(&client->active, exchange, entry);
		client->active_count--;
		TAILQ_INSERT_TAIL(&client->finished, exchange, entry);
		event_active(client->deliver, EV_TIMEOUT, 0);
	}
}

static void
socket_ready(evutil_socket_t fd, short what, void *argument)
{
	struct http_client *client = argument;
	int flags = (what & EV_READ ? CURL_CSELECT_IN : 0) |
		    (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
	int running;

	curl_multi_socket_action(client->multi, fd, flags, &running);
	harvest(client);
}

static void
timer_due(evutil_socket_t fd, short what, void *argument)
{
	struct http_client *client = argument;
	int running;

	curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	harvest(client);
}

/* libcurl wants to know when `fd` is ready; `watching` is the event we gave it for that socket, NULL at first. */
static int
watch(CURL *easy, curl_socket_t fd, int what, void *argument, void *watching)
{
	struct http_client *client = argument;
	short events = EV_PERSIST;

	if (watching != NULL)
		event_free(watching);
	watching = NULL;
	if (what != CURL_POLL_REMOVE) {
		events |= what & CURL_POLL_IN ? EV_READ : 0;
		events |= what & CURL_POLL_OUT ? EV_WRITE : 0;
		watching = event_new(client->base, fd, events, socket_ready, client);
		if (watching == NULL || event_add(watching, NULL) != 0)
			fatal("http: no event");
	}
	curl_multi_assign(client->multi, fd, watching);
	return 0;
}

static int
set_timer(CURLM *multi, long timeout_ms, void *argument)
{
	struct http_client *client = argument;
	struct timeval delay = clock_timeval(timeout_ms);

	if (timeout_ms < 0)
		evtimer_del(client->timer);
	else
		evtimer_add(client->timer, &delay);
	return 0;
}

struct http_client *
http_client_new(struct event_base *base, const char *ca_file)
{
	struct http_client *client = calloc(1, sizeof(*client));

	if (client == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
		fatal("http: libcurl cannot be used");
	client->base = base;
	client->ca_file = strdup(ca_file);
	client->multi = curl_multi_init();
	client->timer = evtimer_new(base, timer_due, client);
	client->deliver = event_new(base, -1, 0, deliver_due, client);
	if (client->ca_file == NULL || client->multi == NULL || client->timer == NULL ||
	    client->deliver == NULL)
		fatal("http: out of memory");
	TAILQ_INIT(&client->waiting);
	TAILQ_INIT(&client->active);
	TAILQ_INIT(&client->finished);
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, watch);
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
	return client;
}

/* ---------------------------------------------------------------- one exchange */

static size_t
body_arrived(char *bytes, size_t size, size_t count, void *argument)
{
	struct exchange *exchange = argument;
	size_t length = size * count;
	char *grown;

	if (length > HTTP_ANSWER_MAX - exchange->length) {
		exchange->error = "the answer is too long";
		return 0;
	}
	grown = realloc(exchange->answer, exchange->length + length + 1);
	if (grown == NULL)
		fatal("http: out of memory");
	memcpy(grown + exchange->length, bytes, length);
	exchange->answer = grown;
	exchange->length += length;
	grown[exchange->length] = '\0';
	return length;
}

static size_t
header_arrived(char *bytes, size_t size, size_t count, void *argument)
{
	static const char name[] = "Cache-Control:";
	struct exchange *exchange = argument;
	size_t length = size * count, skipped = sizeof(name) - 1;

	if (length > skipped && length - skipped < CACHE_CONTROL_SIZE &&
	    strncasecmp(bytes, name, skipped) == 0) {
		memcpy(exchange->cache_control, bytes + skipped, length - skipped);
		exchange->cache_control[length - skipped] = '\0';
	}
	return length;
}

/* False if libcurl refuses any of it: then nothing has been sent. */
static bool
exchange_set_up(struct exchange *exchange, long left_ms)
{
	CURL *easy = exchange->easy;
	const char *ca_file = exchange->client->ca_file;
	int refused = 0;

	refused |= curl_easy_setopt(easy, CURLOPT_URL, exchange->url);
	refused |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https,http");
	refused |= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	refused |= curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	refused |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	refused |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	if (ca_file[0] != '\0')
		refused |= curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
	/* The bundle alone: with Debian's directory beside it libcurl reads both again for every connection, 15 ms. */
	refused |= curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	refused |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	/*
	 * libcurl resolves names in threads, and would wait for one at the end of an exchange whose time is up: the event
	 * loop with it, until the resolver's own limits (7.88, with a name server that does not answer: ten seconds and more).
	 */
	refused |= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	refused |= curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, left_ms);
	refused |= curl_easy_setopt(easy, CURLOPT_HTTPHEADER, exchange->headers);
	if (exchange->request != NULL) {
		refused |= curl_easy_setopt(easy, CURLOPT_POSTFIELDS, exchange->request);
		/* libcurl 7.88 sends again, silently, what a kept connection was closed upon: twice done, perhaps. */
		refused |= curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	}
	refused |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_arrived);
	refused |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
	refused |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_arrived);
	refused |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
	refused |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->reason);
	refused |= curl_easy_setopt(easy, CURLOPT_PRIVATE, exchange);
	return refused == 0;
}

/* From waiting to active, or, if that cannot be, to finished. */
static void
exchange_begin(struct exchange *exchange)
{
	struct http_client *client = exchange->client;
	int64_t left_ms = exchange->deadline_ms - clock_monotonic_ms();

	TAILQ_REMOVE(&client->waiting, exchange, entry);
	client->waiting_count--;
	exchange->easy = curl_easy_init();
	if (left_ms <= 0)
		exchange->error = "it waited too long for its turn";
	else if (exchange->easy == NULL || !exchange_set_up(exchange, (long)left_ms) ||
		 curl_multi_add_handle(client->multi, exchange->easy) != CURLM_OK)
		exchange->error = "libcurl refuses it";
	if (exchange->error != NULL) {
		TAILQ_INSERT_TAIL(&client->finished, exchange, entry);
		event_active(client->deliver, EV_TIMEOUT, 0);
		return;
	}
	TAILQ_INSERT_TAIL(&client->active, exchange, entry);
	client->active_count++;
}

static void
exchange_free(struct exchange *exchange)
{
	curl_easy_cleanup(exchange->easy);
	curl_slist_free_all(exchange->headers);
	if (exchange->request != NULL)
		explicit_bzero(exchange->request, strlen(exchange->request));
	free(exchange->request);
	free(exchange->answer);
	free(exchange->url);
	free(exchange);
}

static void
exchange_end(struct exchange *exchange)
{
	struct http_answer answer = {
		.body = exchange->answer == NULL ? "" : exchange->answer,
		.length = exchange->length,
		.cache_control = exchange->cache_control,
	};

	if (exchange->error == NULL)
		curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &answer.status);
	exchange->done(
	    exchange->argument, exchange->error, exchange->error == NULL ? &answer : NULL);
	exchange_free(exchange);
}

static void
deliver_due(evutil_socket_t fd, short what, void *argument)
{
	struct http_client *client = argument;
	struct exchange *exchange;

	while ((exchange = TAILQ_FIRST(&client->finished)) != NULL) {
		TAILQ_REMOVE(&client->finished, exchange, entry);
		exchange_end(exchange);
	}
	while (client->active_count < HTTP_CONCURRENT_MAX &&
	       (exchange = TAILQ_FIRST(&client->waiting)) != NULL)
		exchange_begin(exchange);
}

void
http_client_send(struct http_client *client, const struct http_exchange *asked, http_done_fn *done,
    void *argument)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));

	if (exchange == NULL)
		fatal("http: out of memory");
	exchange->client = client;
	exchange->deadline_ms = clock_monotonic_ms() + asked->timeout_ms;
	exchange->done = done;
	exchange->argument = argument;
	exchange->url = strdup(asked->url);
	exchange->request = asked->body == NULL ? NULL : strdup(asked->body);
	for (size_t i = 0; asked->headers != NULL && asked->headers[i] != NULL; i++)
		exchange->headers = curl_slist_append(exchange->headers, asked->headers[i]);
	if (exchange->url == NULL || (asked->body != NULL && exchange->request == NULL))
		fatal("http: out of memory");
	if (client->waiting_count >= HTTP_WAITING_MAX) {
		exchange->error = "too many requests to other services are waiting";
		TAILQ_INSERT_TAIL(&client->finished, exchange, entry);
	} else {
		TAILQ_INSERT_TAIL(&client->waiting, exchange, entry);
		client->waiting_count++;
	}
	event_active(client->deliver, EV_TIMEOUT, 0);
}

void
http_client_free(struct http_client *client)
{
	struct exchange *exchange;

	while ((exchange = TAILQ_FIRST(&client->active)) != NULL) {
		curl_multi_remove_handle(client->multi, exchange->easy);
		TAILQ_REMOVE(&client->active, exchange, entry);
		exchange->error = "this process ends";
		TAILQ_INSERT_TAIL(&client->finished, exchange, entry);
	}
	while ((exchange = TAILQ_FIRST(&client->waiting)) != NULL) {
		TAILQ_REMOVE(&client->waiting, exchange, entry);
		exchange->error = "this process ends";
		TAILQ_INSERT_TAIL(&client->finished, exchange, entry);
	}
	while ((exchange = TAILQ_FIRST(&client->finished)) != NULL) {
		TAILQ_REMOVE(&client->finished, exchange, entry);
		exchange_end(exchange);
	}
	curl_multi_cleanup(client->multi);
	event_free(client->timer);
	event_free(client->deliver);
	free(client->ca_file);
	free(client);
	curl_global_cleanup();
}
