/* master: the process that has children and does nothing else: no HTTP, no SQL. */
#ifndef SERVER_MASTER_H
#define SERVER_MASTER_H

#include "common/config.h"

/* `mitrad serve`. Takes over the configuration, which is empty afterwards; returns the exit status. */
int master_run(struct config *, char **argv);

#endif
