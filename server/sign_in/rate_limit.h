/*
 * rate_limit: how often one client may come, for the routes by which one signs in.
 *
 * A token bucket in Valkey (`mirror:rate:<name>:<key>`, rate_limit.lua), so the limit is one for the whole cluster; while Valkey is
 * away one of this process, so an outage multiplies the limits by the number of workers and opens no door.
 *
 * Every answer says how things stand in the header fields `RateLimit-Policy` and `RateLimit` of the IETF's draft ("RateLimit header
 * fields for HTTP"): `"otp_verify";q=60;w=60` and `"otp_verify";r=59;t=1`.
 */
#ifndef SERVER_RATE_LIMIT_H
#define SERVER_RATE_LIMIT_H

#include "server/step.h"

struct json;
struct rate_limiter;

enum rate {
#define RATE(name, ...) RATE_##name,
#include "server/sign_in/rates.def"
#undef RATE
	RATES,
};

struct rate_limiter *rate_limiter_new(void);
void rate_limiter_free(struct rate_limiter *);
/* app_config was read: new limits, from the next request on. NULL: none could be read, the defaults hold. */
void rate_limiter_configure(struct rate_limiter *, const struct json *config);

/* On to `next`, or 429 RATE_LIMITED. `key` says whose bucket it is, mostly client_network(). */
outcome rate_limit(struct request *, enum rate, const char *key, step_fn *next);

#endif
