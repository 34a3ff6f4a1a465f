/*
 * framing_head: what the lines of a request's head say, and whether it may be believed.  The part
 * of the parser that knows HTTP's methods and fields; only framing_parse.c includes this.
 */
#ifndef SERVER_FRAMING_HEAD_H
#define SERVER_FRAMING_HEAD_H

#include "server/gate/framing_parse.h"

/*
 * Each judges the line that lies in the text from p->line to p->length, without its CR LF, and
 * leaves it there in normal form, or drops it by setting p->length back.
 */
enum framing_refusal framing_head_request(struct framing_parse *);
enum framing_refusal framing_head_field(struct framing_parse *, const struct framing_limits *);

/* All lines have been judged one by one; now together.  Sets the step in which the body begins. */
enum framing_refusal framing_head_end(struct framing_parse *, const struct framing_limits *);

/* Once the request line has been judged: answers have no body. */
bool framing_head_is_head(const struct framing_parse *);

#endif
