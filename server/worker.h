/*
 * worker: one process that serves HTTP.  It connects after the fork, serves, and drains on TERM.
 *
 * Everything that a handler may need hangs on the one struct worker of its process; nothing is shared
 * with other processes.
 */
#ifndef SERVER_WORKER_H
#define SERVER_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/boot.h"

struct config;
struct event_base;
struct evdns_base;
struct evhttp;
struct pg;
struct valkey;
struct mirror;
struct channel;
struct app_config;
struct token_keys;
struct flight;
struct beats;
struct dashboard;
struct dashboard_stream;
struct event_waits;
struct http_client;
struct jwks;
struct otp_message;
struct otp_sender;
struct proxies;
struct rate_limiter;
struct framing;
struct hasher;
struct valkey_subscriber;

#define LISTENER_KINDS 2 /* LISTENER_PUBLIC, LISTENER_INTERNAL */

struct worker {
	const struct boot *boot;
	const struct config *config;
	struct event_base *base;
	struct evdns_base *dns;
	struct pg *pg;
	struct valkey *valkey;
	struct mirror *mirror;
	struct valkey_subscriber *subscriber;
	struct channel *channel;
	struct app_config *app_config; /* what app_config says, kept fresh */
	struct token_keys *token_keys;
	struct proxies *proxies; /* TRUSTED_PROXIES */
	struct rate_limiter *rate_limiter;
	struct http_client *http_client; /* to other services */
	struct jwks *google_keys, *apple_keys;
	const struct otp_sender *otp_sender; /* NULL: no codes are sent here */
	struct otp_message *deliveries;      /* codes on their way; owned by otp_delivery.c */
	struct flight *flights;      /* reads that many requests share, by enum flight_kind */
	struct beats *beats;         /* heartbeats on their way to the truth */
	struct dashboard *dashboard; /* its computation */
	struct dashboard_stream *dashboard_stream; /* those who follow it */
	struct event_waits *event_waits;           /* who waits for his next event */
	struct hasher *hasher;                     /* passwords */
	struct evhttp *http[LISTENER_KINDS];       /* NULL: not served here */
	struct framing *framing[LISTENER_KINDS];   /* the gate before it */
	size_t requests_pending;                   /* dispatched and not yet replied to */
	bool serves_public;                        /* hears heartbeats */
	bool was_up; /* PostgreSQL or Valkey has been there since the start */
	bool draining;
	int64_t drain_until_ms; /* monotonic; then the process ends, whoever still waits */
};

#endif
