/* counters: the one set of this process; see counters.h. */
#include "common/counters.h"

struct counters counters;
