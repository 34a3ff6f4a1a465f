/*
 * framing_parse: the head line by line, then the body in bulk.
 *
 * Bytes of the head are checked as they come, so that what is no HTTP at all (a TLS ClientHello) is
 * refused at its first byte.  A line is looked at when its CR LF is there, and is at once rewritten
 * or dropped, in place: the text never holds more than one line that has not been judged.
 */
#include "server/gate/framing_parse.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "server/gate/framing_head.h"

#define CHUNK_DIGITS_MAX   8
#define TEXT_ROOM_AT_START 1024

static size_t
take_head(struct framing_parse *, const struct framing_limits *, const char *, size_t);
static size_t
take_body(struct framing_parse *, const struct framing_limits *, const char *, size_t);
static size_t take_data(struct framing_parse *, const char *, size_t, enum framing_step next);
static void take_chunk_byte(struct framing_parse *, const struct framing_limits *, char);
static enum framing_refusal line_ended(struct framing_parse *, const struct framing_limits *);

enum framing_verdict
framing_parse(struct framing_parse *p, const struct framing_limits *limits, const char *bytes,
    size_t count, size_t *taken)
{
	size_t at = 0;

	while (p->step != STEP_COMPLETE && p->step != STEP_REFUSED && at < count) {
		if (p->step <= STEP_FIELDS)
			at += take_head(p, limits, bytes + at, count - at);
		else
			at += take_body(p, limits, bytes + at, count - at);
	}
	*taken = at;
	if (p->step == STEP_COMPLETE)
		return FRAMING_COMPLETE;
	return p->step == STEP_REFUSED ? FRAMING_REFUSED : FRAMING_MORE;
}

void
framing_parse_reset(struct framing_parse *p)
{
	free(p->text);
	*p = (struct framing_parse){ 0 };
}

bool
framing_parse_started(const struct framing_parse *p)
{
	return p->taken > 0;
}

bool
framing_parse_in_body(const struct framing_parse *p)
{
	return p->step >= STEP_BODY && p->step < STEP_COMPLETE;
}

bool
framing_parse_is_head(const struct framing_parse *p)
{
	return p->step != STEP_REQUEST_LINE && framing_head_is_head(p);
}

static void
refuse(struct framing_parse *p, enum framing_refusal refusal)
{
	p->step = STEP_REFUSED;
	p->refusal = refusal;
}

static void
append(struct framing_parse *p, const char *bytes, size_t count)
{
	size_t needed = p->length + count;

	if (count == 0)
		return;
	if (needed > p->room) {
		size_t room = p->room == 0 ? TEXT_ROOM_AT_START : p->room * 2;

		p->room = (uint32_t)(room < needed ? needed : room);
		p->text = realloc(p->text, p->room);
		if (p->text == NULL)
			fatal("out of memory");
	}
	memcpy(p->text + p->length, bytes, count);
	p->length += (uint32_t)count;
}

/*
 * The head.
 */

static bool
is_control(char c)
{
	return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

static enum framing_refusal
head_byte(struct framing_parse *p, const struct framing_limits *limits, char c)
{
	if (p->taken == limits->head_bytes)
		return p->step == STEP_REQUEST_LINE ? REFUSAL_TARGET_SIZE : REFUSAL_HEAD_SIZE;
	p->taken++;
	if (c == '\n')
		return p->cr ? line_ended(p, limits) : REFUSAL_BARE_LF;
	if (p->cr)
		return REFUSAL_BARE_CR;
	if (c == '\r')
		p->cr = true;
	else if (is_control(c))
		return REFUSAL_CONTROL_CHARACTER;
	else
		append(p, &c, 1);
	return REFUSAL_NONE;
}

/* Looks at all of them even so, as a compiler then compares many at once. */
static bool
has_control(const char *bytes, size_t count)
{
	unsigned char found = 0;

	for (size_t i = 0; i < count; i++)
		found |= is_control(bytes[i]);
	return found != 0;
}

/* How many bytes come before the next one that head_byte() must decide about: nearly always a CR. */
static size_t
plain_run(const char *bytes, size_t count)
{
	const char *cr = memchr(bytes, '\r', count);
	size_t run = cr == NULL ? count : (size_t)(cr - bytes);

	if (has_control(bytes, run))
		for (run = 0; !is_control(bytes[run]);)
			run++;
	return run;
}

/* These all at once. */
static size_t
take_plain(
    struct framing_parse *p, const struct framing_limits *limits, const char *bytes, size_t count)
{
	size_t room = limits->head_bytes - p->taken, run;

	if (p->cr)
		return 0;
	run = plain_run(bytes, count < room ? count : room);
	append(p, bytes, run);
	p->taken += (uint32_t)run;
	return run;
}

static size_t
take_head(
    struct framing_parse *p, const struct framing_limits *limits, const char *bytes, size_t count)
{
	size_t at = 0;

	while (p->step <= STEP_FIELDS && at < count) {
		enum framing_refusal refusal = REFUSAL_NONE;

		at += take_plain(p, limits, bytes + at, count - at);
		if (at < count)
			refusal = head_byte(p, limits, bytes[at++]);
		if (refusal != REFUSAL_NONE)
			refuse(p, refusal);
	}
	return at;
}

static enum framing_refusal
line_ended(struct framing_parse *p, const struct framing_limits *limits)
{
	bool is_first = p->step == STEP_REQUEST_LINE;
	enum framing_refusal refusal;

	p->cr = false;
	if (p->length == p->line)
		return is_first ? REFUSAL_REQUEST_LINE : framing_head_end(p, limits);
	refusal = is_first ? framing_head_request(p) : framing_head_field(p, limits);
	if (p->length > p->line)
		append(p, "\r\n", 2);
	if (is_first)
		p->request_line = p->length;
	p->line = p->length;
	return refusal;
}

/*
 * The body.
 */

static size_t
take_body(
    struct framing_parse *p, const struct framing_limits *limits, const char *bytes, size_t count)
{
	if (p->step == STEP_BODY)
		return take_data(p, bytes, count, STEP_COMPLETE);
	if (p->step == STEP_CHUNK_DATA)
		return take_data(p, bytes, count, STEP_CHUNK_DATA_CR);
	take_chunk_byte(p, limits, bytes[0]);
	return 1;
}

static size_t
take_data(struct framing_parse *p, const char *bytes, size_t count, enum framing_step next)
{
	size_t taken = count < p->wanted ? count : p->wanted;

	append(p, bytes, taken);
	p->wanted -= (uint32_t)taken;
	if (p->wanted == 0)
		p->step = next;
	return taken;
}

static void
expect_byte(struct framing_parse *p, char c, char expected, enum framing_step next)
{
	if (c == expected)
		p->step = next;
	else
		refuse(p, p->step >= STEP_LAST_CR ? REFUSAL_TRAILER : REFUSAL_CHUNK);
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void
chunk_size_byte(struct framing_parse *p, char c)
{
	int value = hex_value(c);

	if (value >= 0 && p->digits < CHUNK_DIGITS_MAX) {
		p->digits++;
		p->wanted = p->wanted * 16 + (uint32_t)value;
	} else if (p->digits > 0) {
		expect_byte(p, c, '\r', STEP_CHUNK_SIZE_LF);
	} else {
		refuse(p, REFUSAL_CHUNK);
	}
}

static void
chunk_size_ended(struct framing_parse *p, const struct framing_limits *limits, char c)
{
	p->digits = 0;
	expect_byte(p, c, '\n', p->wanted == 0 ? STEP_LAST_CR : STEP_CHUNK_DATA);
	if (p->step == STEP_CHUNK_DATA && p->wanted > limits->body_bytes - (p->length - p->head))
		refuse(p, REFUSAL_BODY_SIZE);
}

static void
take_chunk_byte(struct framing_parse *p, const struct framing_limits *limits, char c)
{
	switch (p->step) {
	case STEP_CHUNK_SIZE:
		chunk_size_byte(p, c);
		break;
	case STEP_CHUNK_SIZE_LF:
		chunk_size_ended(p, limits, c);
		break;
	case STEP_CHUNK_DATA_CR:
		expect_byte(p, c, '\r', STEP_CHUNK_DATA_LF);
		break;
	case STEP_CHUNK_DATA_LF:
		expect_byte(p, c, '\n', STEP_CHUNK_SIZE);
		break;
	case STEP_LAST_CR:
		expect_byte(p, c, '\r', STEP_LAST_LF);
		break;
	case STEP_LAST_LF:
		expect_byte(p, c, '\n', STEP_COMPLETE);
		break;
	default:
		assert(!"not a step of a chunked body");
	}
}
