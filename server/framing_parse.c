/*
 * framing_parse: the head line by line, then the body in bulk.
 *
 * Bytes of the head are checked as they come, so that what is no HTTP at all (a TLS ClientHello) is refused at
 * its first byte.  A line is looked at when its CR LF is there, and is at once rewritten or dropped, in place: the text never
 * holds more than one line that has not been judged.
 */
#include "server/framing_parse.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"

#define FIELDS_MAX         100
#define CHUNK_DIGITS_MAX   8
#define LENGTH_DIGITS_MAX  18
#define TEXT_ROOM_AT_START 1024

/* A piece of a line, not terminated. */
struct piece {
	const char *text;
	size_t length;
};

struct method {
	const char *name;
	bool has_body;
};

static const struct method methods[] = {
	{ "GET", false },
	{ "HEAD", false },
	{ "POST", true },
	{ "PUT", true },
	{ "PATCH", true },
	{ "DELETE", false },
	{ "OPTIONS", false },
};
#define METHOD_HEAD  1
#define METHOD_COUNT (sizeof(methods) / sizeof(methods[0]))

typedef enum framing_refusal
field_fn(struct framing_parse *, const struct framing_limits *, struct piece value);

static field_fn field_host, field_content_length, field_transfer_encoding, field_expect,
    field_connection;

/* The fields that frame the message, and those of which a second one could be read differently by someone before us. */
static const struct field {
	const char *name;
	field_fn *judge; /* NULL: any value is good */
	bool once, kept;
} fields[] = {
	{ "Host", field_host, true, true },
	{ "Content-Length", field_content_length, true, false },
	{ "Transfer-Encoding", field_transfer_encoding, true, false },
	{ "Expect", field_expect, true, false },
	{ "Authorization", NULL, true, true },
	{ "Content-Type", NULL, true, true },
	{ "Connection", field_connection, false, false },
};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))
#define SEEN(index) (1u << (index))
enum { FIELD_HOST, FIELD_CONTENT_LENGTH, FIELD_TRANSFER_ENCODING };

static size_t
take_head(struct framing_parse *, const struct framing_limits *, const char *, size_t);
static size_t
take_body(struct framing_parse *, const struct framing_limits *, const char *, size_t);
static size_t take_data(struct framing_parse *, const char *, size_t, enum framing_step next);
static void take_chunk_byte(struct framing_parse *, const struct framing_limits *, char);
static enum framing_refusal line_ended(struct framing_parse *, const struct framing_limits *);
static enum framing_refusal request_line(struct framing_parse *, struct piece line);
static enum framing_refusal
field_line(struct framing_parse *, const struct framing_limits *, struct piece line);
static enum framing_refusal head_ended(struct framing_parse *, const struct framing_limits *);

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
	return p->step != STEP_REQUEST_LINE && p->method == METHOD_HEAD;
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

static size_t
take_head(
    struct framing_parse *p, const struct framing_limits *limits, const char *bytes, size_t count)
{
	size_t at = 0;

	while (p->step <= STEP_FIELDS && at < count) {
		enum framing_refusal refusal = head_byte(p, limits, bytes[at++]);

		if (refusal != REFUSAL_NONE)
			refuse(p, refusal);
	}
	return at;
}

static enum framing_refusal
line_ended(struct framing_parse *p, const struct framing_limits *limits)
{
	struct piece line = { p->text + p->line, p->length - p->line };
	enum framing_refusal refusal;

	p->cr = false;
	if (p->step == STEP_REQUEST_LINE)
		refusal = request_line(p, line);
	else if (line.length == 0)
		return head_ended(p, limits);
	else
		refusal = field_line(p, limits, line);
	p->line = p->length;
	return refusal;
}

static bool
is_alphanumeric(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* RFC 9110 section 5.6.2 */
static bool
is_token(struct piece piece)
{
	for (size_t i = 0; i < piece.length; i++)
		if (!is_alphanumeric(piece.text[i]) &&
		    strchr("!#$%&'*+-.^_`|~", piece.text[i]) == NULL)
			return false;
	return piece.length > 0;
}

static bool
is_text(struct piece piece, const char *text)
{
	return piece.length == strlen(text) && memcmp(piece.text, text, piece.length) == 0;
}

static bool
is_text_in_any_case(struct piece piece, const char *text)
{
	return piece.length == strlen(text) && strncasecmp(piece.text, text, piece.length) == 0;
}

/* What stands before the separator; *rest becomes what stands after it, or empty with text NULL if it is not there. */
static struct piece
piece_before(struct piece whole, char separator, struct piece *rest)
{
	const char *found = whole.length == 0 ? NULL : memchr(whole.text, separator, whole.length);
	size_t length = found == NULL ? whole.length : (size_t)(found - whole.text);

	rest->text = found == NULL ? NULL : found + 1;
	rest->length = found == NULL ? 0 : whole.length - length - 1;
	return (struct piece){ whole.text, length };
}

static struct piece
piece_trimmed(struct piece piece)
{
	while (piece.length > 0 && (*piece.text == ' ' || *piece.text == '\t')) {
		piece.text++;
		piece.length--;
	}
	while (piece.length > 0 &&
	       (piece.text[piece.length - 1] == ' ' || piece.text[piece.length - 1] == '\t'))
		piece.length--;
	return piece;
}

/* Two slashes at the start would be read as an authority by evhttp's parser, so that the path would be another one. */
static bool
is_target(struct piece target)
{
	if (target.length == 0 || target.text[0] != '/')
		return false;
	if (target.length > 1 && target.text[1] == '/')
		return false;
	for (size_t i = 0; i < target.length; i++)
		if (target.text[i] <= ' ' || target.text[i] > '~' || target.text[i] == '#')
			return false;
	return true;
}

static enum framing_refusal
request_line(struct framing_parse *p, struct piece line)
{
	struct piece method, target, version, rest;

	method = piece_before(line, ' ', &rest);
	target = piece_before(rest, ' ', &version);
	if (!is_token(method) || version.text == NULL)
		return REFUSAL_REQUEST_LINE;
	p->version_1_0 = is_text(version, "HTTP/1.0");
	if (!p->version_1_0 && !is_text(version, "HTTP/1.1"))
		return REFUSAL_VERSION;
	if (!is_target(target))
		return REFUSAL_TARGET;
	while (p->method < METHOD_COUNT && !is_text(method, methods[p->method].name))
		p->method++;
	if (p->method == METHOD_COUNT)
		return REFUSAL_METHOD;
	append(p, "\r\n", 2);
	p->step = STEP_FIELDS;
	return REFUSAL_NONE;
}

/* The line as "name:value", without blanks around the value. */
static void
field_keep(struct framing_parse *p, struct piece name, struct piece value)
{
	char *colon = p->text + p->line + name.length;

	memmove(colon + 1, value.text, value.length);
	p->length = p->line + (uint32_t)(name.length + 1 + value.length);
	append(p, "\r\n", 2);
}

static enum framing_refusal
field_line(struct framing_parse *p, const struct framing_limits *limits, struct piece line)
{
	struct piece value, name = piece_before(line, ':', &value);
	enum framing_refusal refusal = REFUSAL_NONE;
	size_t known = 0;

	if (line.text[0] == ' ' || line.text[0] == '\t')
		return REFUSAL_FOLDED_FIELD;
	if (!is_token(name) || value.text == NULL)
		return REFUSAL_FIELD_NAME;
	if (++p->fields > FIELDS_MAX)
		return REFUSAL_HEAD_SIZE;
	value = piece_trimmed(value);
	while (known < FIELD_COUNT && !is_text_in_any_case(name, fields[known].name))
		known++;
	if (known < FIELD_COUNT && fields[known].once) {
		if (p->once & SEEN(known))
			return REFUSAL_FIELD_TWICE;
		p->once |= SEEN(known);
	}
	if (known < FIELD_COUNT && fields[known].judge != NULL)
		refusal = fields[known].judge(p, limits, value);
	if (known == FIELD_COUNT || fields[known].kept)
		field_keep(p, name, value);
	else
		p->length = p->line;
	return refusal;
}

/* A host and perhaps a port.  Narrower than RFC 3986: no user, no comma, nothing that only a name in quotes could hold. */
static enum framing_refusal
field_host(struct framing_parse *p, const struct framing_limits *limits, struct piece value)
{
	bool bracketed = value.length > 0 && value.text[0] == '[';
	const char *others = bracketed ? ":." : "-._~%";
	size_t at = bracketed;
	size_t port;

	while (at < value.length &&
	       (is_alphanumeric(value.text[at]) || strchr(others, value.text[at]) != NULL))
		at++;
	if (at == bracketed)
		return REFUSAL_HOST;
	if (bracketed && (at == value.length || value.text[at++] != ']'))
		return REFUSAL_HOST;
	if (at == value.length)
		return REFUSAL_NONE;
	if (value.text[at++] != ':')
		return REFUSAL_HOST;
	for (port = at; port < value.length; port++)
		if (value.text[port] < '0' || value.text[port] > '9')
			return REFUSAL_HOST;
	return value.length - at <= 5 ? REFUSAL_NONE : REFUSAL_HOST;
}

static enum framing_refusal
field_content_length(
    struct framing_parse *p, const struct framing_limits *limits, struct piece value)
{
	uint64_t length = 0;

	if (value.length == 0 || value.length > LENGTH_DIGITS_MAX)
		return REFUSAL_CONTENT_LENGTH;
	for (size_t i = 0; i < value.length; i++) {
		if (value.text[i] < '0' || value.text[i] > '9')
			return REFUSAL_CONTENT_LENGTH;
		length = length * 10 + (uint64_t)(value.text[i] - '0');
	}
	/* Too large is said at the end of the head only: what is ambiguous as well should hear that. */
	p->wanted = (uint32_t)(length > limits->body_bytes ? limits->body_bytes + 1 : length);
	return REFUSAL_NONE;
}

static enum framing_refusal
field_transfer_encoding(
    struct framing_parse *p, const struct framing_limits *limits, struct piece value)
{
	p->chunked = true;
	if (p->version_1_0 || !is_text_in_any_case(value, "chunked"))
		return REFUSAL_TRANSFER_ENCODING;
	return REFUSAL_NONE;
}

/* RFC 9110 section 10.1.1: from a client of HTTP/1.0 it must be ignored. */
static enum framing_refusal
field_expect(struct framing_parse *p, const struct framing_limits *limits, struct piece value)
{
	if (p->version_1_0)
		return REFUSAL_NONE;
	p->expects_continue = is_text_in_any_case(value, "100-continue");
	return p->expects_continue ? REFUSAL_NONE : REFUSAL_EXPECTATION;
}

static enum framing_refusal
field_connection(struct framing_parse *p, const struct framing_limits *limits, struct piece value)
{
	struct piece option;

	while (value.text != NULL) {
		option = piece_trimmed(piece_before(value, ',', &value));
		if (is_text_in_any_case(option, "close"))
			p->close = true;
		else if (is_text_in_any_case(option, "keep-alive"))
			p->keep_alive = true;
	}
	return REFUSAL_NONE;
}

static enum framing_refusal
head_ended(struct framing_parse *p, const struct framing_limits *limits)
{
	if (!p->version_1_0 && !(p->once & SEEN(FIELD_HOST)))
		return REFUSAL_HOST;
	if (p->chunked && (p->once & SEEN(FIELD_CONTENT_LENGTH)))
		return REFUSAL_TWO_LENGTHS;
	if (!methods[p->method].has_body && (p->chunked || p->wanted > 0))
		return REFUSAL_BODY_UNEXPECTED;
	if (p->wanted > limits->body_bytes)
		return REFUSAL_BODY_SIZE;
	if (p->version_1_0 && !p->keep_alive)
		p->close = true;
	p->head = p->length;
	if (p->chunked)
		p->step = STEP_CHUNK_SIZE;
	else
		p->step = p->wanted > 0 ? STEP_BODY : STEP_COMPLETE;
	return REFUSAL_NONE;
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
