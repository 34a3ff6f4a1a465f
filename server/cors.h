/*
 * cors: lets the control center's pages, and no others, call the internal listener from a browser
 * (setting CC_ORIGIN).
 */
#ifndef SERVER_CORS_H
#define SERVER_CORS_H

struct request;

/* Adds the headers that every answer to that origin needs; nothing if it is not one of ours. `origin` may be NULL. */
void cors_headers(struct request *, const char *origin);
/* What a preflight asks for besides: methods, headers, how long the browser may remember. */
void cors_preflight(struct request *, const char *methods);

#endif
