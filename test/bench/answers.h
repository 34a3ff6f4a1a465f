/*
 * answers: just enough of HTTP/1.1 to know where an answer ends.
 *
 * The servers measured all say Content-Length; an answer without one is an error, which ends the run.
 */
#ifndef BENCH_ANSWERS_H
#define BENCH_ANSWERS_H

#include <stddef.h>
#include <stdint.h>

#define ANSWER_HEAD_MAX 4096

/* One answer as it comes in. All zero before the first byte. */
struct answer {
	char head[ANSWER_HEAD_MAX]; /* until its end is seen */
	size_t head_length;
	int status;         /* 0: the head is not complete */
	uint64_t body_left; /* bytes, once it is */
};

enum answer_state { ANSWER_PARTIAL, ANSWER_COMPLETE, ANSWER_BAD };

/*
 * Takes from the bytes what belongs to this answer.  Bytes that follow a complete answer are an error: we
 * do not pipeline.
 */
enum answer_state answer_feed(struct answer *, const char *bytes, size_t length);

#endif
