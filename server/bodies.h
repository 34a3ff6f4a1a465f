/*
 * bodies: what a request's JSON body must look like, from bodies.def.
 */
#ifndef SERVER_BODIES_H
#define SERVER_BODIES_H

#include <stdbool.h>

struct request;
struct json;

enum body {
	BODY_NONE, /* no body is expected; valid JSON is let pass and ignored */
#define BODY(name) BODY_##name,
#define FIELD(key, ...)
#include "server/bodies.def"
#undef BODY
#undef FIELD
};

/* Must there be one?  Not if nothing in it need be there. */
bool body_is_needed(enum body);

/*
 * Checks the object against the description and makes r->body the checked one: phones normalised,
 * names trimmed. What is wrong is noted in the request's faults; false if anything is.
 */
bool body_check(struct request *, enum body, const struct json *object);

#endif
