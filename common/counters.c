/* counters: the one set of each in this process; see counters.h. */
#include "common/counters.h"

struct counters counters;
struct gauges gauges;
