/*
 * counters: what this process has counted since it started, from counters.def, and what it has right
 * now, from gauges.def. One process, one thread, plain integers.
 */
#ifndef COMMON_COUNTERS_H
#define COMMON_COUNTERS_H

#include <stdint.h>

struct counters {
#define COUNTER(name, help) uint64_t name;
#include "common/counters.def"
#undef COUNTER
};

extern struct counters counters;

struct gauges {
#define GAUGE(kind, name, help) uint64_t name;
#include "common/gauges.def"
#undef GAUGE
};

extern struct gauges gauges;

#endif
