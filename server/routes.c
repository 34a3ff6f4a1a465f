/*
 * routes: routes.def as a table, and the search in it.
 *
 * Paths without an id are found by a hash; they are the hot ones.  The others, few and rare, are
 * compared one after the other.
 */
#include "server/routes.h"

#include <stdint.h>
#include <string.h>

#include "common/series.h"

static const struct route routes[] = {
#define ROUTE(method, path, handler, listener, caller, body) \
	{ EVHTTP_REQ_##method, path, handler, ON_##listener, FOR_##caller, BODY_##body },
#include "server/routes.def"
#undef ROUTE
};

const char routes_names[] =
#define ROUTE(method, path, ...) #method " " path ","
#include "server/routes.def"
#undef ROUTE
    ;

#define ROUTES  (sizeof(routes) / sizeof(routes[0]))
#define BUCKETS 256

_Static_assert(ROUTES < SERIES_ROUTES, "series.h has no room for all");

static struct {
	int16_t first[BUCKETS];    /* index of the first static route of a bucket, -1 if none */
	int16_t following[ROUTES]; /* the next one of the same bucket, or of the routes with ids */
	int16_t with_ids;
} paths;

static unsigned
bucket_of(const char *path)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (; *path != '\0'; path++)
		hash = (hash ^ (unsigned char)*path) * 16777619u;
	return hash % BUCKETS;
}

void
routes_init(void)
{
	memset(paths.first, -1, sizeof(paths.first));
	paths.with_ids = -1;
	for (size_t i = ROUTES; i-- > 0;) {
		int16_t *list = strchr(routes[i].path, '{') != NULL
				    ? &paths.with_ids
				    : &paths.first[bucket_of(routes[i].path)];

		paths.following[i] = *list;
		*list = (int16_t)i;
	}
}

/* Is `path` what `pattern` describes; its ids are then in `match`. */
static bool
path_matches(const char *pattern, const char *path, struct route_match *match)
{
	match->id_count = 0;
	while (*pattern != '\0') {
		if (*pattern != '{') {
			if (*pattern++ != *path++)
				return false;
			continue;
		}
		size_t length = strcspn(path, "/");

		if (!uuid_parse(path, length, match->ids[match->id_count]))
			return false;
		match->id_count++;
		pattern += 2;
		path += length;
	}
	return *path == '\0';
}

static void
route_consider(struct route_match *found, const struct route *route, enum evhttp_cmd_type method)
{
	found->methods |= route->method;
	if (route->method == method)
		found->route = route;
}

struct route_match
routes_find(enum boot_listener_kind listener, enum evhttp_cmd_type method, const char *path,
    bool with_test_routes)
{
	struct route_match found = { 0 }, candidate = { 0 };
	unsigned on = 1u << listener;

	if (method == EVHTTP_REQ_HEAD)
		method = EVHTTP_REQ_GET;
	for (int i = paths.first[bucket_of(path)]; i >= 0; i = paths.following[i])
		if ((routes[i].listener & on) && strcmp(routes[i].path, path) == 0 &&
		    (routes[i].caller != FOR_TESTER || with_test_routes))
			route_consider(&found, &routes[i], method);
	if (found.methods != 0)
		return found;
	for (int i = paths.with_ids; i >= 0; i = paths.following[i])
		if ((routes[i].listener & on) && path_matches(routes[i].path, path, &candidate)) {
			memcpy(found.ids, candidate.ids, sizeof(found.ids));
			found.id_count = candidate.id_count;
			route_consider(&found, &routes[i], method);
		}
	return found;
}

static const struct {
	enum evhttp_cmd_type method;
	const char *name;
} methods[] = {
	{ EVHTTP_REQ_GET, "GET" },
	{ EVHTTP_REQ_HEAD, "HEAD" },
	{ EVHTTP_REQ_POST, "POST" },
	{ EVHTTP_REQ_PUT, "PUT" },
	{ EVHTTP_REQ_PATCH, "PATCH" },
	{ EVHTTP_REQ_DELETE, "DELETE" },
	{ EVHTTP_REQ_OPTIONS, "OPTIONS" },
	{ EVHTTP_REQ_TRACE, "TRACE" },
	{ EVHTTP_REQ_CONNECT, "CONNECT" },
};

const char *
method_name(enum evhttp_cmd_type method)
{
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (methods[i].method == method)
			return methods[i].name;
	return "?";
}

const char *
routes_allow(struct arena *arena, unsigned mask)
{
	const char *list = "";

	if (mask & EVHTTP_REQ_GET)
		mask |= EVHTTP_REQ_HEAD;
	mask |= EVHTTP_REQ_OPTIONS;
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (mask & methods[i].method)
			list = arena_printf(
			    arena, "%s%s%s", list, *list == '\0' ? "" : ", ", methods[i].name);
	return list;
}

int
route_index(const struct route *route)
{
	return route == NULL ? 0 : (int)(route - routes) + 1;
}

const char *
route_labels(struct arena *arena, int index)
{
	if (index < 1 || index > (int)ROUTES)
		return "route=\"none\",method=\"\",";
	return arena_printf(arena, "route=\"%s\",method=\"%s\",", routes[index - 1].path,
	    method_name(routes[index - 1].method));
}
