/*
 * cookie: the one cookie of this server, in which a browser keeps an operator's refresh token.
 *
 * HttpOnly: no script reads it.  SameSite=Strict: no foreign page's request brings it.  Secure: it never
 * goes over plain HTTP, but to localhost.  Path: only the routes that need it see it.
 */
#ifndef SERVER_COOKIE_H
#define SERVER_COOKIE_H

struct request;

#define COOKIE_NAME "mitrad_refresh"
#define COOKIE_PATH "/internal/auth"

/* What the client sent in it, in the request's arena; NULL if it sent none, or one that cannot be ours. */
const char *cookie_read(struct request *);
/* The answer sets it for so long; 0 takes it away. */
void cookie_set(struct request *, const char *value, long seconds);

#endif
