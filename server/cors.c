/*
 * cors: an origin is allowed if it stands in CC_ORIGIN, compared byte by byte; there are no wildcards,
 * as credentials are allowed.
 */
#include "server/cors.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "common/config.h"
#include "server/reply.h"
#include "server/request.h"

static bool
origin_allowed(const char *list, const char *origin)
{
	size_t length = strlen(origin);

	while (length > 0 && *list != '\0') {
		size_t item;

		list += strspn(list, ", ");
		item = strcspn(list, ", ");
		if (item == length && memcmp(list, origin, length) == 0)
			return true;
		list += item;
	}
	return false;
}

void
cors_headers(struct request *r, const char *origin)
{
	const char *allowed = r->worker->config->cc_origin;

	if (*allowed == '\0')
		return;
	reply_header(r, "Vary", "Origin");
	if (origin == NULL || !origin_allowed(allowed, origin))
		return;
	r->origin_allowed = true;
	reply_header(r, "Access-Control-Allow-Origin", origin);
	reply_header(r, "Access-Control-Allow-Credentials", "true");
	reply_header(r, "Access-Control-Expose-Headers",
	    "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy");
}

void
cors_preflight(struct request *r, const char *methods)
{
	if (!r->origin_allowed)
		return;
	reply_header(r, "Access-Control-Allow-Methods", methods);
	reply_header(
	    r, "Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id");
	reply_header(r, "Access-Control-Max-Age", "600");
}

/* Is it http:// or https:// before exactly the Host that was asked for? */
static bool
origin_is_host(const char *origin, const char *host)
{
	const char *at = strstr(origin, "://");

	return host != NULL && at != NULL && strncmp(origin, "http", 4) == 0 &&
	       strcasecmp(at + strlen("://"), host) == 0;
}

bool
cors_foreign(struct request *r)
{
	const char *origin = request_header(r, "Origin");

	return origin != NULL && !r->origin_allowed &&
	       !origin_is_host(origin, request_header(r, "Host"));
}
