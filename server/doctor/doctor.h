/*
 * doctor: `mitrad doctor` looks for what operators get wrong: in the settings, on this machine, in PostgreSQL and in Valkey.
 *
 * Every check is one line on stdout: ok, warn or FAIL, its subject, what was found, and what to do about it.
 */
#ifndef SERVER_DOCTOR_H
#define SERVER_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>

struct config;
struct evdns_base;
struct event_base;
struct pg_conn; /* libpq's PGconn */

/* Exit status: 0, or 1 if some check says FAIL. */
int doctor_command(const struct config *);

/* For the files of doctor only. */

struct doctor {
	const struct config *config;
	struct event_base *base;
	struct evdns_base *dns;
	int oks, warnings, failures;
};

void doctor_settings(struct doctor *);
void doctor_host(struct doctor *);
void doctor_postgres(struct doctor *);
/* Its first part: a connection, to be ended by the caller, or NULL after the reason was reported. */
struct pg_conn *doctor_connect(struct doctor *);
void doctor_valkey(struct doctor *);

/* The line of one check. */
void doctor_ok(struct doctor *, const char *subject, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void doctor_warn(struct doctor *, const char *subject, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void doctor_fail(struct doctor *, const char *subject, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Looks the name up as the server will; what stands in `setting` is to blame. An address needs no look-up. */
bool doctor_resolves(struct doctor *, const char *subject, const char *host, const char *setting);
/* A server's wall clock against ours; `before_ms` and `after_ms` are ours around the question. */
void doctor_clock(
    struct doctor *, const char *subject, int64_t theirs_ms, int64_t before_ms, int64_t after_ms);
/* Of this machine: "localhost", 127.0.0.0/8, ::1, or a Unix socket. */
bool doctor_is_local(const char *host);
/* Of this instance, by its role; for the workers see listeners_workers(). */
int doctor_sweepers(const struct config *);

#endif
