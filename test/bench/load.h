/*
 * load: the load generator, and what its files share.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "test/bench/answers.h"
#include "test/bench/histogram.h"

/* What the command line says. */
struct plan {
	int port;
	size_t connections;
	double rate; /* requests/s, open loop; 0: closed loop */
	double warmup_seconds, seconds;
	size_t cycle;  /* requests a connection sends in turn, and finishes before it stops */
	bool idle;     /* one request each, then hold the connections until stdin ends */
	FILE *samples; /* gets a line for each answer; NULL: nothing does */
};

/* Whose CPU time is read at the beginning and at the end of what is measured. */
#define METERS_MAX     16
#define METER_PIDS_MAX 64

struct meter {
	const char *name;
	pid_t pids[METER_PIDS_MAX];
	size_t count;
	int64_t began_ns[METER_PIDS_MAX];
	int64_t used_ns;
};

/* --- requests.c: the file of requests, ready to be sent: for each its length (uint32_t) and its bytes --- */

struct text {
	const char *bytes;
	size_t length;
};

struct requests {
	struct text *texts;
	size_t count;
};

void requests_read(struct requests *, const char *path);

/* --- meters.c --- */

/* NAME=PID,PID… */
void meter_parse(struct meter *, char *argument);
void meters_begin(struct meter *, size_t count);
void meters_end(struct meter *, size_t count);

/* --- load.c --- */

void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
int64_t now_ns(void);

#endif
