/*
 * session_reply: the answer of every sign-in, made from the row that a SQL function returns as mitrad.sign_in
 * (docs/api.md, What is answered).
 */
#ifndef SERVER_SESSION_REPLY_H
#define SERVER_SESSION_REPLY_H

#include "server/sign_in/refresh_token.h"
#include "server/step.h"

struct request;
struct rows;

/* REFRESH_TOKEN_TTL_DAYS, as the functions' ttl_days. */
const char *session_ttl_days(struct request *);

/*
 * {"access_token","expires_in","refresh_token","user"}; without the member refresh_token if that is NULL, for those who send it
 * in a cookie.  In the request's arena.
 */
const char *session_answer(struct request *, const struct rows *, const char *refresh_token);
outcome session_reply(struct request *, int status, const struct rows *, const char *refresh_token);

/*
 * An exchange of the token that a client presents at a door ("{mitra,customer}", "{operator}").  `next` gets the row of a
 * success, and finds the successor by session_successor().
 */
outcome session_refresh(struct request *, const char *token, const char *doors, rows_fn *next);
/* The successor of `token` that the exchange ended in; in the request's arena. */
const char *session_successor(struct request *, const char *token, const struct rows *);
/* Ends the session of that token; whether there was one nobody learns. */
outcome session_revoke(struct request *, const char *token, const char *doors, rows_fn *next);

#endif
