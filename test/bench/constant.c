/*
 * constant: evhttp answering the same few bytes to everything, as its manual shows it.
 *
 * What is left of an HTTP server on libevent when it does nothing: the yardstick that mitrad's heartbeat, with
 * its token, its Valkey and its guards, is held against.
 */
#include <stdio.h>
#include <stdlib.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>

static void
answer(struct evhttp_request *request, void *unused)
{
	struct evbuffer *body = evbuffer_new();

	if (body == NULL)
		abort();
	evhttp_add_header(
	    evhttp_request_get_output_headers(request), "Content-Type", "application/json");
	evbuffer_add(body, "{\"online\":true}", 15);
	evhttp_send_reply(request, HTTP_OK, "OK", body);
	evbuffer_free(body);
}

int
main(int argc, char **argv)
{
	struct event_base *base = event_base_new();
	struct evhttp *http = base ? evhttp_new(base) : NULL;

	if (argc != 2 || http == NULL ||
	    evhttp_bind_socket(http, "127.0.0.1", (uint16_t)atoi(argv[1])) != 0) {
		fprintf(stderr, "usage: constant PORT, a free one\n");
		return 1;
	}
	evhttp_set_gencb(http, answer, NULL);
	return event_base_dispatch(base);
}
