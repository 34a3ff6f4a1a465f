/*
 * dispatch: from evhttp's callback to the handler.  In this order: route (404, 405), caller (401,
 * 403), body (415, 400).
 */
#ifndef SERVER_DISPATCH_H
#define SERVER_DISPATCH_H

#include "server/worker.h"

struct evhttp_request;

void dispatch(struct worker *, struct evhttp_request *, enum boot_listener_kind);

#endif
