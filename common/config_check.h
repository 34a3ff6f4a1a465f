/* config_check: what is asked of particular settings, beyond their kind. Used by config.c only. */
#ifndef COMMON_CONFIG_CHECK_H
#define COMMON_CONFIG_CHECK_H

#include "common/arena.h"

/* NULL, or why the value is refused; in the arena. */
const char *config_check(struct arena *, const char *name, const char *value);

#endif
