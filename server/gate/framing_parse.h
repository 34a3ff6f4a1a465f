/*
 * framing_parse: one request out of a stream of bytes, or the reason why not.
 *
 * No input or output, no clock: a state machine that is fed whatever has arrived, all at once or
 * byte by byte, with the same result.  RFC 9112 without its leniencies, and without what this
 * server needs not: no absolute or asterisk targets, no chunk extensions, no trailers, no bodies
 * where the method has none.
 *
 * What it takes is kept in normal form.  `text` holds the request line and the fields, each ended
 * by CR LF, then the body, dechunked. The fields that frame the message (Content-Length,
 * Transfer-Encoding, Connection, Expect) are left out, as the members below say what they said.
 */
#ifndef SERVER_FRAMING_PARSE_H
#define SERVER_FRAMING_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/gate/framing.h"

enum framing_refusal {
	REFUSAL_NONE,
#define REFUSAL(name, ...) REFUSAL_##name,
#include "server/gate/framing_refusals.def"
#undef REFUSAL
	REFUSALS,
};

enum framing_verdict {
	FRAMING_MORE,     /* so far so good; all bytes have been taken */
	FRAMING_COMPLETE, /* the bytes not taken belong to the next request */
	FRAMING_REFUSED,  /* see `refusal`; nothing that follows can be understood */
};

enum framing_step {
	STEP_REQUEST_LINE,
	STEP_FIELDS,
	STEP_BODY, /* of a known length */
	STEP_CHUNK_SIZE,
	STEP_CHUNK_SIZE_LF,
	STEP_CHUNK_DATA,
	STEP_CHUNK_DATA_CR,
	STEP_CHUNK_DATA_LF,
	STEP_LAST_CR,
	STEP_LAST_LF,
	STEP_COMPLETE,
	STEP_REFUSED,
};

/* All zero is the start of a request. */
struct framing_parse {
	char *text;            /* owned; NULL before the first byte */
	uint32_t room;         /* allocated */
	uint32_t length;       /* used */
	uint32_t request_line; /* of these */
	uint32_t head;         /* of these: request line and fields; the rest is body */
	uint32_t line;         /* where the unfinished line begins */
	uint32_t taken;        /* bytes of the head as they came */
	uint32_t wanted;       /* bytes of the body, or of the chunk, that have not come yet */

	uint8_t step;    /* enum framing_step */
	uint8_t refusal; /* enum framing_refusal */
	uint8_t method;
	uint8_t fields; /* how many */
	uint8_t once;   /* the fields that were there and may not come again, a bit each */
	uint8_t digits; /* of the chunk size */

	bool version_1_0 : 1;
	bool cr : 1; /* the line's CR has come, its LF must be next */
	bool chunked : 1;
	bool close : 1;            /* the connection ends after this request */
	bool keep_alive : 1;       /* a client of HTTP/1.0 asked to stay */
	bool expects_continue : 1; /* it waits for "100 Continue" before it sends the body */
};

/*
 * Takes bytes, *taken of them.  After COMPLETE or REFUSED call framing_parse_reset() before
 * anything else.  Memory is allocated as bytes come, about as many as have come.
 */
enum framing_verdict framing_parse(struct framing_parse *, const struct framing_limits *,
    const char *bytes, size_t count, size_t *taken);

/* Back to the start of a request; frees the text. */
void framing_parse_reset(struct framing_parse *);

bool framing_parse_started(const struct framing_parse *); /* a byte of it has come */
bool
framing_parse_in_body(const struct framing_parse *); /* the head is complete, the body is not */
bool
framing_parse_is_head(const struct framing_parse *); /* the method is HEAD: answers have no body */

#endif
