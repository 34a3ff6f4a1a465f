/*
 * routes: which handler serves a method and a path, and who may call it, from routes.def.
 */
#ifndef SERVER_ROUTES_H
#define SERVER_ROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include <event2/http.h>

#include "server/bodies.h"
#include "server/request.h"

enum route_listener {
	ON_PUBLIC = 1 << LISTENER_PUBLIC,
	ON_INTERNAL = 1 << LISTENER_INTERNAL,
	ON_BOTH = ON_PUBLIC | ON_INTERNAL,
};

enum route_caller {
	FOR_ANYONE,
	FOR_VISITOR,
	FOR_MITRA,
	FOR_CUSTOMER,
	FOR_OPERATOR,
	FOR_ADMIN,
	FOR_TESTER,
};

struct route {
	enum evhttp_cmd_type method;
	const char *path; /* as in routes.def, with `{}` for an id */
	step_fn *handler;
	enum route_listener listener;
	enum route_caller caller;
	enum body body;
};

/* The handlers, in server/handlers/: one prototype for each row. */
#define ROUTE(method, path, handler, ...) step_fn handler;
#include "server/routes.def"
#undef ROUTE

/* What is found for one path: its route by that method (NULL: it has none), and all the methods it has, as a mask. */
struct route_match {
	const struct route *route;
	unsigned methods;
	char ids[2][UUID_SIZE];
	int id_count;
};

/* Once per process, before the first routes_find(). */
void routes_init(void);
/* HEAD finds what GET has. `methods` is 0 if nothing has that path on that listener. */
struct route_match
routes_find(enum boot_listener_kind, enum evhttp_cmd_type, const char *path, bool with_test_routes);
/* "GET, HEAD, POST", for the Allow header. */
const char *routes_allow(struct arena *, unsigned methods);
const char *method_name(enum evhttp_cmd_type);

/* All routes, in one text: what a route's number means. */
extern const char routes_names[];
/* A route's number for counting (common/series.h): 0 is "no route", the first row of routes.def is 1. */
int route_index(const struct route *);
/* `route="/livez",method="GET",` */
const char *route_labels(struct arena *, int index);

#endif
