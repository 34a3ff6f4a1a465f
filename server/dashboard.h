/*
 * dashboard: the numbers of the moment, computed once for all who ask, and followed as a stream.
 *
 * The mitras' numbers come from the mirror, the rest is one statement; without Valkey that statement counts the mitras
 * too.  Who asks while a computation is under way shares the next one, so that his numbers are never older than his request.
 *
 * While somebody follows, it is computed once a second in the whole cluster: whoever gets `mirror:dashboard:turn` computes and
 * publishes on the channel `dashboard`.  Without Valkey each worker that has readers computes for itself.
 */
#ifndef SERVER_DASHBOARD_H
#define SERVER_DASHBOARD_H

#include <stddef.h>

#include "server/step.h"

struct dashboard;
struct dashboard_stream;
struct request;
struct worker;

struct dashboard *dashboard_new(struct worker *);
void dashboard_free(struct dashboard *);

/* The numbers as JSON go to `next`; a database that is away is answered here. */
outcome dashboard_ask(struct request *, text_fn *next);
/* For the stream: NULL if they cannot be had. One asker. */
typedef void dashboard_done_fn(void *argument, const char *json);
void dashboard_compute(struct dashboard *, dashboard_done_fn *, void *argument);

/* --- dashboard_stream.c --- */

#define DASHBOARD_CHANNEL "dashboard"

struct dashboard_stream *dashboard_stream_new(struct worker *);
void dashboard_stream_free(struct dashboard_stream *);
/* All streams end, and no new one begins. */
void dashboard_stream_drain(struct dashboard_stream *);
size_t dashboard_stream_readers(const struct dashboard_stream *);

/* The caller follows from now on; his request ends when he has left, or is too slow, or after a quarter of an hour. */
outcome dashboard_follow(struct request *);

/* What the worker's subscriber tells. */
void dashboard_stream_subscribed(struct dashboard_stream *);
void dashboard_stream_message(struct dashboard_stream *, const char *json, size_t length);

#endif
