/*
 * framing_head: the request line and the fields, as RFC 9110 and RFC 9112 define them, less their
 * leniencies.
 */
#include "server/gate/framing_head.h"

#include <string.h>
#include <strings.h>

#define FIELDS_MAX        100
#define LENGTH_DIGITS_MAX 18

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

/* Bits of framing_parse.once. */
enum {
	ONCE_HOST = 1,
	ONCE_CONTENT_LENGTH = 2,
	ONCE_TRANSFER_ENCODING = 4,
	ONCE_EXPECT = 8,
	ONCE_AUTHORIZATION = 16,
	ONCE_CONTENT_TYPE = 32,
};

struct field {
	const char *name;
	field_fn *judge; /* NULL: any value is good */
	uint8_t once;    /* 0: it may come again */
	bool kept;
};

/*
 * The fields that frame the message, and those of which a second one could be read differently by
 * someone before us.
 */
static const struct field fields[] = {
	{ "Host", field_host, ONCE_HOST, true },
	{ "Content-Length", field_content_length, ONCE_CONTENT_LENGTH, false },
	{ "Transfer-Encoding", field_transfer_encoding, ONCE_TRANSFER_ENCODING, false },
	{ "Expect", field_expect, ONCE_EXPECT, false },
	{ "Authorization", NULL, ONCE_AUTHORIZATION, true },
	{ "Content-Type", NULL, ONCE_CONTENT_TYPE, true },
	{ "Connection", field_connection, 0, false },
};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

static const struct field any_field = { "", NULL, 0, true };

static struct piece
line_of(const struct framing_parse *p)
{
	return (struct piece){ p->text + p->line, p->length - p->line };
}

static bool
is_alphanumeric(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* RFC 9110 section 5.6.2 */
static const bool token_bytes[256] = {
	['0' ... '9'] = true,
	['A' ... 'Z'] = true,
	['a' ... 'z'] = true,
	['!'] = true,
	['#'] = true,
	['$'] = true,
	['%'] = true,
	['&'] = true,
	['\''] = true,
	['*'] = true,
	['+'] = true,
	['-'] = true,
	['.'] = true,
	['^'] = true,
	['_'] = true,
	['`'] = true,
	['|'] = true,
	['~'] = true,
};

static bool
is_token(struct piece piece)
{
	for (size_t i = 0; i < piece.length; i++)
		if (!token_bytes[(unsigned char)piece.text[i]])
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

/*
 * What stands before the separator; *rest becomes what stands after it, or empty with text NULL if
 * it is not there.
 */
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

/*
 * Two slashes at the start would be read as an authority by evhttp's parser, so that the path would
 * be another one.
 */
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

enum framing_refusal
framing_head_request(struct framing_parse *p)
{
	struct piece method, target, version, rest;

	method = piece_before(line_of(p), ' ', &rest);
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
	p->step = STEP_FIELDS;
	return REFUSAL_NONE;
}

bool
framing_head_is_head(const struct framing_parse *p)
{
	return p->method == METHOD_HEAD;
}

/*
 * Fields.
 */

/* The line as "name:value", without blanks around the value. */
static void
field_keep(struct framing_parse *p, struct piece name, struct piece value)
{
	char *colon = p->text + p->line + name.length;

	memmove(colon + 1, value.text, value.length);
	p->length = p->line + (uint32_t)(name.length + 1 + value.length);
}

static const struct field *
field_find(struct piece name)
{
	for (size_t i = 0; i < FIELD_COUNT; i++)
		if (is_text_in_any_case(name, fields[i].name))
			return &fields[i];
	return &any_field;
}

enum framing_refusal
framing_head_field(struct framing_parse *p, const struct framing_limits *limits)
{
	struct piece line = line_of(p), value, name = piece_before(line, ':', &value);
	enum framing_refusal refusal = REFUSAL_NONE;
	const struct field *field;

	if (line.text[0] == ' ' || line.text[0] == '\t')
		return REFUSAL_FOLDED_FIELD;
	if (!is_token(name) || value.text == NULL)
		return REFUSAL_FIELD_NAME;
	if (++p->fields > FIELDS_MAX)
		return REFUSAL_HEAD_SIZE;
	field = field_find(name);
	if (p->once & field->once)
		return REFUSAL_FIELD_TWICE;
	p->once |= field->once;
	value = piece_trimmed(value);
	if (field->judge != NULL)
		refusal = field->judge(p, limits, value);
	if (field->kept)
		field_keep(p, name, value);
	else
		p->length = p->line;
	return refusal;
}

/*
 * A host and perhaps a port.  Narrower than RFC 3986: no user, no comma, nothing that only a name
 * in quotes could hold.
 */
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
	/*
	 * That it is too large is said at the end of the head: if it is ambiguous as well, that is
	 * the graver fault.
	 */
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

enum framing_refusal
framing_head_end(struct framing_parse *p, const struct framing_limits *limits)
{
	if (!p->version_1_0 && !(p->once & ONCE_HOST))
		return REFUSAL_HOST;
	if (p->chunked && (p->once & ONCE_CONTENT_LENGTH))
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
