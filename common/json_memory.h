/* json_memory: lets yajl allocate from an arena, so that nothing of it need be freed. For json*.c only. */
#ifndef COMMON_JSON_MEMORY_H
#define COMMON_JSON_MEMORY_H

#include <yajl/yajl_common.h>

#include "common/arena.h"

yajl_alloc_funcs json_memory_functions(struct arena *);

#endif
