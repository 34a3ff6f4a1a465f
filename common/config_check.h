/* config_check: what is asked of particular settings, beyond their kind. Used by config.c only. */
#ifndef COMMON_CONFIG_CHECK_H
#define COMMON_CONFIG_CHECK_H

#include "common/arena.h"

/* NULL, or why the value is refused; in the arena. */
const char *config_check(struct arena *, const char *name, const char *value);

struct config;
struct config_faults;

/* What several settings say together; called once every one of them has been read without a fault. */
void config_check_together(const struct config *, struct config_faults *);

#endif
