/*
 * cors: lets the control center's pages, and no others, call the internal listener from a browser
 * (setting CC_ORIGIN).
 */
#ifndef SERVER_CORS_H
#define SERVER_CORS_H

#include <stdbool.h>

struct request;

/* Adds the headers that every answer to that origin needs; nothing if it is not one of ours. `origin` may be NULL. */
void cors_headers(struct request *, const char *origin);
/* What a preflight asks for besides: methods, headers, how long the browser may remember. */
void cors_preflight(struct request *, const char *methods);

/*
 * Does a page ask that is neither ours (CC_ORIGIN) nor of this very host?  For routes that live by a cookie, which a
 * browser sends along for whoever asks.  Without an Origin it is no page, or one of this host.
 */
bool cors_foreign(struct request *);

#endif
