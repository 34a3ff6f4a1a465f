/* fallback: the log lines of reads that PostgreSQL answers because Valkey could not; operators search for them. */
#ifndef SERVER_FALLBACK_H
#define SERVER_FALLBACK_H

struct request;

/*
 * Counts the fallback and logs "<what>: <error>", at most once a second for each `what`, so that an
 * outage does not bury its own cause; `what` is a string constant.
 */
/* No request: it was for several, or for none. */
void fallback_noted(const struct request *, const char *what, const char *error);

#endif
