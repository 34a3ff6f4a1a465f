/*
 * reply: the one answer of a request.  Each of these sends it, ends the request, and returns the
 * outcome; the request must not be touched afterwards.
 */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "server/step.h"

struct request;

enum problem {
#define PROBLEM(code, ...) PROBLEM_##code,
#include "server/problems.def"
#undef PROBLEM
	PROBLEMS,
};

outcome reply_json(struct request *, int status, const char *json);
outcome reply_text(struct request *, int status, const char *content_type, const char *text);
outcome reply_empty(struct request *, int status);

/* 200 with the column `answer` of the row: for whoever only reads. */
rows_fn reply_answer;
/* r->answer, which an earlier step has kept: 200, or 201 for what was made. */
step_fn reply_kept, reply_created;

/* What a problem says beyond its row in problems.def. */
struct problem_more {
	const char *detail;      /* NULL: the problem's own */
	const char *errors;      /* the member `errors`, a JSON array; NULL if there are none */
	int retry_after_seconds; /* 0: the problem's own */
	const char *members; /* a JSON object, whose members are added; NULL if there are none */
};
outcome reply_problem_more(struct request *, enum problem, struct problem_more);

/* RFC 9457. `detail` NULL: the problem's own. */
outcome reply_problem(struct request *, enum problem, const char *detail);
/* With the member `errors`, a JSON array of {field, detail}. */
outcome reply_faults(struct request *, enum problem, const char *errors);
/* The problem by the code that a SQL function names; an unknown one is our mistake: 500. */
outcome reply_problem_named(struct request *, const char *code, struct problem_more);

/*
 * An answer that goes on: head, pieces, end.  Between them the request stays, and whoever began must end it.  To HEAD there
 * is only a head: false, and the request has ended.
 */
bool
reply_stream_begin(struct request *, const char *content_type) __attribute__((warn_unused_result));
/* False: the client has left, or has more than unsent_most bytes yet to take, and was hung up on. */
bool reply_stream_send(struct request *, const char *text, size_t length, size_t unsent_most)
    __attribute__((warn_unused_result));
void reply_stream_end(struct request *);

/* A header of the answer to come. Values are ours, or checked: no line breaks. */
void reply_header(struct request *, const char *name, const char *value);

#endif
