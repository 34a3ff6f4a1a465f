/*
 * framing_problem: the whole answer to a request that the gate refuses, as bytes; evhttp and the
 * replies of the server have no part in it.
 */
#ifndef SERVER_FRAMING_PROBLEM_H
#define SERVER_FRAMING_PROBLEM_H

#include <stdbool.h>

#include "server/gate/framing_parse.h"

struct evbuffer;

/*
 * Appends the answer, with a request id of its own, and writes the access line.  `bodiless`: the
 * request was a HEAD.
 */
void framing_problem(struct evbuffer *, enum framing_refusal, bool bodiless);

#endif
