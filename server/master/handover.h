/*
 * handover: the master executes another program in its place, with the same pid, and that one goes on
 * with the children, the sockets and the counts.
 *
 * What it must know stands in a memfd, as text with a version; its number is in the environment
 * (MITRAD_HANDOVER).  The descriptors named in it stay open over exec().  Whoever reads checks all of
 * it before touching anything; a program that does not understand it, gives the same memfd back to the
 * program that wrote it.
 */
#ifndef SERVER_HANDOVER_H
#define SERVER_HANDOVER_H

#include <stdbool.h>

/* Of the text. `mitrad check handover` says it, so that no program is executed that speaks another. */
#define HANDOVER_VERSION 1

struct instance;

enum handover {
	HANDOVER_NONE,    /* started by somebody else */
	HANDOVER_FORWARD, /* by the program before us, to try a new generation */
	HANDOVER_BACK,    /* by the program after us, which has failed to */
};

/* How this program came to be executed. Ask once: the environment is cleaned. */
enum handover handover_receive(void);
/*
 * Takes over what handover_receive() has found: afterwards instance->running is as it was.  False: it
 * cannot be read, and the writer does not want it back either.
 */
bool handover_adopt(struct instance *, enum handover) __attribute__((warn_unused_result));

/*
 * Executes the program on disk, or the previous one. Returns only if that fails, with errno and nothing
 * changed.
 */
void handover_forward(struct instance *);
void handover_back(struct instance *);

#endif
