/*
 * boot: what the master gives a child, and where each kind of process begins.
 *
 * The master forks and then calls one of these functions in the child; what they return is the child's
 * exit status: 0 after TERM, 2 for a configuration that no respawn would mend (the whole server then
 * stops with 2), BOOT_EXIT_OUTDATED for a database that has not been migrated (a start then ends with 1),
 * anything else for "start me again".  This header is the only way from the master to
 * its children: server/ and sweeper/ do not know each other.
 */
#ifndef COMMON_BOOT_H
#define COMMON_BOOT_H

#include <stddef.h>

#define BOOT_EXIT_OUTDATED 3

struct config;

enum boot_listener_kind {
	LISTENER_PUBLIC,
	LISTENER_INTERNAL,
};

/* Bound, listening, non-blocking. Stays open in the master, so that its queue survives this child. */
struct boot_listener {
	int fd;
	enum boot_listener_kind kind;
};

struct boot {
	const struct config *config;
	int index;   /* of a worker: 0 … workers - 1 */
	int workers; /* in this generation */
	int generation;
	const char *schema_stamp; /* this program's, for pg_require_schema() */
	int channel;              /* for channel_new() */
	/* All that this child serves: one of a kind as a rule, more after WORKERS was lowered. */
	const struct boot_listener *listeners;
	size_t listener_count;
};

/*
 * Signals: TERM means drain, or finish the page, and return 0; ABRT and KILL come to one who hangs or
 * is late.  HUP, INT, QUIT and USR1 are the master's business and ignored here, as is PIPE, so that
 * Ctrl-C reaches the children as TERM and once.
 */
int worker_main(const struct boot *);
int sweeper_main(const struct boot *);

/* `mitrad mirror verify|diff|reseed`, without a master; returns the exit status. */
int mirror_command(const struct config *, const char *verb);

#endif
