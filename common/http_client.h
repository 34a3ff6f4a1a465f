/*
 * http_client: requests to other services, from the event loop.
 *
 * libcurl's multi interface. Certificates are verified, redirects are not followed, an answer longer than
 * HTTP_ANSWER_MAX is a failure, and every exchange has a deadline, waiting for its turn included.  HTTP_CONCURRENT_MAX are
 * under way at a time, HTTP_WAITING_MAX wait; whatever comes beyond that fails.  A POST is sent once at most, on a connection of
 * its own.  Bodies are wiped, for they hold codes and keys.
 */
#ifndef COMMON_HTTP_CLIENT_H
#define COMMON_HTTP_CLIENT_H

#include <stddef.h>

#define HTTP_ANSWER_MAX     (256 * 1024)
#define HTTP_CONCURRENT_MAX 16
#define HTTP_WAITING_MAX    256

struct event_base;
struct http_client;

/* What is asked; all texts are copied. */
struct http_exchange {
	const char *url;
	const char *const *headers; /* "Name: value", a NULL behind the last; NULL: none */
	const char *body;           /* of a POST; NULL: a GET */
	int timeout_ms;
};

/* Borrowed until the callback returns. */
struct http_answer {
	long status;
	const char *body; /* with a NUL behind */
	size_t length;
	const char *cache_control; /* that header, "" if there was none */
};

/*
 * Called exactly once, never from within http_client_send().  `error` is NULL if there was an answer, of whatever status; else
 * it says why not, for a log line, without what was sent.
 */
typedef void http_done_fn(void *argument, const char *error, const struct http_answer *);

/* After fork(). `ca_file`: whose certificates are trusted, "" for the system's. */
struct http_client *http_client_new(struct event_base *, const char *ca_file);
/* What is pending fails first; callbacks may not send again from there. Not from a callback. */
void http_client_free(struct http_client *);
void http_client_send(
    struct http_client *, const struct http_exchange *, http_done_fn *, void *argument);

#endif
