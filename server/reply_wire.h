/*
 * reply_wire: an answer written in one piece, without evhttp's list of headers, its printf and its Date.
 */
#ifndef SERVER_REPLY_WIRE_H
#define SERVER_REPLY_WIRE_H

#include <stdbool.h>
#include <stddef.h>

struct evhttp_request;

struct wire_answer {
	int status;
	const char *reason;
	const char *content_type; /* NULL: none, and no body */
	const char *request_id;
	const char *body;
	size_t body_length;
};

/*
 * Sends the answer and ends evhttp's request, if it is one of the usual kind: HTTP/1.1 on a connection that
 * stays open, not to HEAD.  False if it is not; nothing has happened then, and evhttp must do it.
 * Headers that were added to the request's output headers go along.
 */
bool wire_send(struct evhttp_request *, const struct wire_answer *);

#endif
