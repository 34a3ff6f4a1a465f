/* master: the process that has children and does nothing else: no HTTP, no SQL. */
#ifndef SERVER_MASTER_H
#define SERVER_MASTER_H

struct instance;

/*
 * `mitrad serve`, in an instance that knows its arguments and nothing else yet.  Reads the
 * configuration, or goes on where the program before it has left off.  Returns the exit status.
 */
int master_run(struct instance *);

#endif
