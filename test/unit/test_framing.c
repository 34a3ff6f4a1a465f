/* What framing_parse.h promises: one reading of a request or none, however the bytes are cut. */
#include "test/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/gate/framing_parse.h"

#define HOST "Host: a\r\n"
#define GET  "GET / HTTP/1.1\r\n" HOST
#define POST "POST / HTTP/1.1\r\n" HOST

static const struct framing_limits limits = FRAMING_LIMITS(1);

/* What a parser has made of some bytes. */
struct reading {
	enum framing_verdict verdict;
	size_t taken;
	struct framing_parse parse;
};

static struct reading
read_in_pieces(const char *bytes, size_t count, size_t piece)
{
	struct reading reading = { .verdict = FRAMING_MORE };

	while (reading.verdict == FRAMING_MORE && reading.taken < count) {
		size_t rest = count - reading.taken, taken;
		size_t length = rest < piece ? rest : piece;
		/* From memory that ends with the piece, so that a sanitizer sees a step too far. */
		char *copy = malloc(length);

		memcpy(copy, bytes + reading.taken, length);
		reading.verdict = framing_parse(&reading.parse, &limits, copy, length, &taken);
		reading.taken += taken;
		free(copy);
	}
	return reading;
}

static void
check_equal(const struct reading *a, const struct reading *b)
{
	CHECK_NUMBER(a->verdict, b->verdict);
	CHECK_NUMBER((int64_t)a->taken, (int64_t)b->taken);
	CHECK_NUMBER(a->parse.refusal, b->parse.refusal);
	CHECK_NUMBER(a->parse.head, b->parse.head);
	CHECK_NUMBER(a->parse.close, b->parse.close);
	CHECK_NUMBER(a->parse.expects_continue, b->parse.expects_continue);
	if (CHECK_NUMBER(a->parse.length, b->parse.length) && a->parse.length > 0)
		CHECK(memcmp(a->parse.text, b->parse.text, a->parse.length) == 0);
}

/* All at once, after making sure that pieces of any size give the same. */
static struct reading
read_bytes(const char *bytes, size_t count)
{
	static const size_t sizes[] = { 1, 2, 3, 7, 64, 1000 };
	struct reading whole = read_in_pieces(bytes, count, count);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct reading pieces = read_in_pieces(bytes, count, sizes[i]);

		check_equal(&whole, &pieces);
		framing_parse_reset(&pieces.parse);
	}
	return whole;
}

static void
check_taken(const char *request, const char *head, const char *body)
{
	struct reading reading;
	struct framing_parse *p = &reading.parse;
	char *text;

	unit_about("%s", request);
	reading = read_bytes(request, strlen(request));
	text = strndup(p->text == NULL ? "" : p->text, p->length);
	if (CHECK_NUMBER(reading.verdict, FRAMING_COMPLETE)) {
		CHECK_NUMBER((int64_t)reading.taken, (int64_t)strlen(request));
		CHECK_TEXT(text + p->head, body);
		text[p->head] = '\0';
		CHECK_TEXT(text, head);
	}
	free(text);
	framing_parse_reset(p);
}

static void
check_refused(const char *request, size_t length, enum framing_refusal refusal)
{
	struct reading reading;

	unit_about("%.200s", request);
	reading = read_bytes(request, length);
	CHECK_NUMBER(reading.verdict, FRAMING_REFUSED);
	CHECK_NUMBER(reading.parse.refusal, refusal);
	framing_parse_reset(&reading.parse);
}

TEST("a request is taken as it is")
{
	check_taken(GET "\r\n", "GET / HTTP/1.1\r\nHost:a\r\n", "");
	check_taken("DELETE /a/b?c=%20&d=? HTTP/1.1\r\nhOsT: a.b:80\r\nX: y z\r\n\r\n",
	    "DELETE /a/b?c=%20&d=? HTTP/1.1\r\nhOsT:a.b:80\r\nX:y z\r\n", "");
	check_taken("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\n", "");
	check_taken("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n",
	    "GET / HTTP/1.1\r\nHost:[2001:db8::1]:80\r\n", "");
}

TEST("a value loses the blanks around it, and keeps all else")
{
	check_taken(GET "X:\r\nY: \t \r\nZ:\t a\t b \xe9:, \r\n\r\n",
	    "GET / HTTP/1.1\r\nHost:a\r\nX:\r\nY:\r\nZ:a\t b \xe9:,\r\n", "");
}

TEST("the fields that frame the message are left out")
{
	check_taken(POST
	    "Connection: keep-alive, x\r\nContent-Length: 003\r\nExpect: 100-Continue\r\n"
	    "Content-Type: t\r\n\r\nabc",
	    "POST / HTTP/1.1\r\nHost:a\r\nContent-Type:t\r\n", "abc");
	check_taken(POST "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
	    "POST / HTTP/1.1\r\nHost:a\r\n", "");
}

TEST("chunks are put together")
{
	check_taken(POST
	    "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0000000A\r\n\r\n34567\r\n0\r\n"
	    "1\r\nb\r\n00\r\n\r\n",
	    "POST / HTTP/1.1\r\nHost:a\r\n", "a\r\n34567\r\n0b");
}

TEST("what comes behind a request is not taken")
{
	static const char text[] = POST "Content-Length: 2\r\n\r\nabGET / HTTP";
	struct reading reading = read_bytes(text, strlen(text));

	CHECK_NUMBER(reading.verdict, FRAMING_COMPLETE);
	CHECK_TEXT(text + reading.taken, "GET / HTTP");
	framing_parse_reset(&reading.parse);
	CHECK(!framing_parse_started(&reading.parse));
}

TEST("each fault is called by its name")
{
	static const struct {
		enum framing_refusal refusal;
		const char *request;
	} rows[] = {
		{ REFUSAL_REQUEST_LINE, "\r\n" },
		{ REFUSAL_REQUEST_LINE, "GET /\r\n" },
		{ REFUSAL_REQUEST_LINE, " / HTTP/1.1\r\n" },
		{ REFUSAL_REQUEST_LINE, "G(T / HTTP/1.1\r\n" },
		{ REFUSAL_VERSION, "GET / HTTP/2.0\r\n" },
		{ REFUSAL_VERSION, "GET / HTTP/1.10\r\n" },
		{ REFUSAL_VERSION, "GET  / HTTP/1.1\r\n" },
		{ REFUSAL_VERSION, "GET / HTTP/1.1 \r\n" },
		{ REFUSAL_VERSION, "PRI * HTTP/2.0\r\n" },
		{ REFUSAL_TARGET, "GET  HTTP/1.1\r\n" },
		{ REFUSAL_TARGET, "GET * HTTP/1.1\r\n" },
		{ REFUSAL_TARGET, "GET //a HTTP/1.1\r\n" },
		{ REFUSAL_TARGET, "GET http://a/ HTTP/1.1\r\n" },
		{ REFUSAL_TARGET, "GET /#a HTTP/1.1\r\n" },
		{ REFUSAL_TARGET, "GET /\t HTTP/1.1\r\n" },
		{ REFUSAL_TARGET, "GET /\xc3\xa4 HTTP/1.1\r\n" },
		{ REFUSAL_METHOD, "get / HTTP/1.1\r\n" },
		{ REFUSAL_METHOD, "TRACE / HTTP/1.1\r\n" },
		{ REFUSAL_METHOD, "GETT / HTTP/1.1\r\n" },
		{ REFUSAL_BARE_LF, "GET / HTTP/1.1\n" },
		{ REFUSAL_BARE_LF, GET "\n" },
		{ REFUSAL_BARE_CR, "GET / HTTP/1.1\rX" },
		{ REFUSAL_BARE_CR, GET "\r\r\n" },
		{ REFUSAL_CONTROL_CHARACTER, "\x16\x03\x01" },
		{ REFUSAL_CONTROL_CHARACTER, GET "X: \x7f" },
		{ REFUSAL_FOLDED_FIELD, GET "X: 1\r\n 2\r\n" },
		{ REFUSAL_FOLDED_FIELD, "GET / HTTP/1.1\r\n\tX: 1\r\n" },
		{ REFUSAL_FIELD_NAME, GET "X\r\n" },
		{ REFUSAL_FIELD_NAME, GET "X : 1\r\n" },
		{ REFUSAL_FIELD_NAME, GET ": 1\r\n" },
		{ REFUSAL_FIELD_TWICE, GET "hOST: a\r\n" },
		{ REFUSAL_FIELD_TWICE, POST "Content-Length: 1\r\nContent-length: 1\r\n" },
		{ REFUSAL_HOST, "GET / HTTP/1.1\r\n\r\n" },
		{ REFUSAL_HOST, "GET / HTTP/1.1\r\nHost:\r\n" },
		{ REFUSAL_HOST, "GET / HTTP/1.1\r\nHost: a,b\r\n" },
		{ REFUSAL_HOST, "GET / HTTP/1.1\r\nHost: []\r\n" },
		{ REFUSAL_HOST, "GET / HTTP/1.1\r\nHost: [::1\r\n" },
		{ REFUSAL_HOST, "GET / HTTP/1.1\r\nHost: :80\r\n" },
		{ REFUSAL_HOST, "GET / HTTP/1.1\r\nHost: a:80x\r\n" },
		{ REFUSAL_CONTENT_LENGTH, POST "Content-Length:\r\n" },
		{ REFUSAL_CONTENT_LENGTH, POST "Content-Length: +5\r\n" },
		{ REFUSAL_CONTENT_LENGTH, POST "Content-Length: 5,5\r\n" },
		{ REFUSAL_CONTENT_LENGTH, POST "Content-Length: 0000000000000000000\r\n" },
		{ REFUSAL_TRANSFER_ENCODING, POST "Transfer-Encoding: identity\r\n" },
		{ REFUSAL_TRANSFER_ENCODING, POST "Transfer-Encoding: chunked,\r\n" },
		{ REFUSAL_TRANSFER_ENCODING, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" },
		{ REFUSAL_TWO_LENGTHS,
		    POST "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" },
		{ REFUSAL_TWO_LENGTHS,
		    POST "Transfer-Encoding: chunked\r\nContent-Length: 999999\r\n\r\n" },
		{ REFUSAL_BODY_UNEXPECTED, GET "Content-Length: 1\r\n\r\n" },
		{ REFUSAL_BODY_UNEXPECTED, GET "Transfer-Encoding: chunked\r\n\r\n" },
		{ REFUSAL_CHUNK, POST "Transfer-Encoding: chunked\r\n\r\n\r\n" },
		{ REFUSAL_CHUNK, POST "Transfer-Encoding: chunked\r\n\r\n0x1\r\n" },
		{ REFUSAL_CHUNK, POST "Transfer-Encoding: chunked\r\n\r\n1;a\r\n" },
		{ REFUSAL_CHUNK, POST "Transfer-Encoding: chunked\r\n\r\n1\na" },
		{ REFUSAL_CHUNK, POST "Transfer-Encoding: chunked\r\n\r\n000000001\r\n" },
		{ REFUSAL_CHUNK, POST "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n" },
		{ REFUSAL_TRAILER, POST "Transfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n" },
		{ REFUSAL_TRAILER, POST "Transfer-Encoding: chunked\r\n\r\n0\r\n\n" },
		{ REFUSAL_EXPECTATION, POST "Expect: 200-ok\r\n" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_refused(rows[i].request, strlen(rows[i].request), rows[i].refusal);
}

TEST("NUL is a fault wherever it stands in a head")
{
	static const char head[] = GET "X: 1\r\n\r\n";

	for (size_t i = 0; i < strlen(head) - 1; i++) {
		char copy[sizeof(head)];

		memcpy(copy, head, sizeof(head));
		copy[i] = '\0';
		check_refused(copy, strlen(head),
		    i > 0 && head[i - 1] == '\r' ? REFUSAL_BARE_CR : REFUSAL_CONTROL_CHARACTER);
	}
}

/* A GET of exactly that many bytes, by one long field or a long target. */
static char *
request_of_size(size_t size, bool long_target)
{
	const char *before = long_target ? "GET /" : GET "X: ";
	const char *after = long_target ? " HTTP/1.1\r\n" HOST "\r\n" : "\r\n\r\n";
	size_t padding = size - strlen(before) - strlen(after);
	char *request = malloc(size + 1);

	memset(request, 'x', size);
	memcpy(request, before, strlen(before));
	memcpy(request + strlen(before) + padding, after, strlen(after) + 1);
	return request;
}

TEST("a head may have 8 KiB and no byte more")
{
	struct {
		size_t size;
		bool long_target;
		enum framing_refusal refusal;
	} rows[] = {
		{ 8192, false, REFUSAL_NONE },
		{ 8192, true, REFUSAL_NONE },
		{ 8193, false, REFUSAL_HEAD_SIZE },
		{ 8193, true, REFUSAL_HEAD_SIZE },
		{ 9000, true, REFUSAL_TARGET_SIZE },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *request = request_of_size(rows[i].size, rows[i].long_target);
		struct reading reading = read_bytes(request, rows[i].size);

		unit_about("row %zu", i);
		CHECK_NUMBER(reading.parse.refusal, rows[i].refusal);
		CHECK((reading.verdict == FRAMING_COMPLETE) == (rows[i].refusal == REFUSAL_NONE));
		framing_parse_reset(&reading.parse);
		free(request);
	}
}

TEST("a head may have 100 fields and not one more")
{
	char request[2000];

	for (int fields = 99; fields <= 100; fields++) {
		struct reading reading;
		int length = snprintf(request, sizeof(request), GET);

		for (int i = 0; i < fields; i++)
			length += snprintf(
			    request + length, sizeof(request) - (size_t)length, "X: 1\r\n");
		length += snprintf(request + length, sizeof(request) - (size_t)length, "\r\n");
		reading = read_bytes(request, (size_t)length);
		CHECK_NUMBER(
		    reading.parse.refusal, fields == 99 ? REFUSAL_NONE : REFUSAL_HEAD_SIZE);
		framing_parse_reset(&reading.parse);
	}
}

TEST("a body may have 64 KiB and no byte more, and a promise of more is refused at once")
{
	static const struct {
		const char *head;
		size_t body;
		const char *tail;
		enum framing_refusal refusal;
	} rows[] = {
		{ POST "Content-Length: 65536\r\n\r\n", 65536, "", REFUSAL_NONE },
		{ POST "Content-Length: 65537\r\n\r\n", 0, "", REFUSAL_BODY_SIZE },
		{ POST "Content-Length: 999999999999999999\r\n\r\n", 0, "", REFUSAL_BODY_SIZE },
		{ POST "Transfer-Encoding: chunked\r\n\r\n10000\r\n", 65536, "\r\n0\r\n\r\n",
		    REFUSAL_NONE },
		{ POST "Transfer-Encoding: chunked\r\n\r\n10000\r\n", 65536, "\r\n1\r\n",
		    REFUSAL_BODY_SIZE },
		{ POST "Transfer-Encoding: chunked\r\n\r\n10001\r\n", 0, "", REFUSAL_BODY_SIZE },
		{ POST "Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", 0, "", REFUSAL_BODY_SIZE },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t head = strlen(rows[i].head), tail = strlen(rows[i].tail);
		char *request = malloc(head + rows[i].body + tail);
		struct reading reading;

		unit_about("row %zu", i);
		memcpy(request, rows[i].head, head);
		memset(request + head, 'x', rows[i].body);
		memcpy(request + head + rows[i].body, rows[i].tail, tail);
		reading = read_bytes(request, head + rows[i].body + tail);
		CHECK_NUMBER(reading.parse.refusal, rows[i].refusal);
		if (rows[i].refusal == REFUSAL_NONE)
			CHECK_NUMBER(reading.parse.length - reading.parse.head, 65536);
		framing_parse_reset(&reading.parse);
		free(request);
	}
}

TEST("a promised body costs no memory before it comes")
{
	static const char head[] = POST "Content-Length: 65536\r\n\r\n";
	struct reading reading = read_bytes(head, strlen(head));

	CHECK_NUMBER(reading.verdict, FRAMING_MORE);
	CHECK(framing_parse_in_body(&reading.parse));
	CHECK(reading.parse.room <= 1024);
	framing_parse_reset(&reading.parse);
}

TEST("the connection ends as its version and its options say")
{
	static const struct {
		const char *request;
		bool close;
	} rows[] = {
		{ GET "\r\n", false },
		{ GET "Connection: close\r\n\r\n", true },
		{ GET "Connection: x ,\tCLOSE , y\r\n\r\n", true },
		{ GET "Connection: x\r\nConnection: close\r\n\r\n", true },
		{ GET "Connection: closed\r\n\r\n", false },
		{ GET "Connection: keep-alive\r\n\r\n", false },
		{ "GET / HTTP/1.0\r\n\r\n", true },
		{ "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", false },
		{ "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", true },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct reading reading = read_bytes(rows[i].request, strlen(rows[i].request));

		unit_about("%s", rows[i].request);
		CHECK_NUMBER(reading.verdict, FRAMING_COMPLETE);
		CHECK_NUMBER(reading.parse.close, rows[i].close);
		framing_parse_reset(&reading.parse);
	}
}

TEST("who waits for 100 Continue is known, unless he speaks HTTP/1.0")
{
	static const char now[] = POST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n";
	static const char old[] = "POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n";
	struct reading reading = read_bytes(now, strlen(now));

	CHECK(reading.parse.expects_continue);
	framing_parse_reset(&reading.parse);
	reading = read_bytes(old, strlen(old));
	CHECK_NUMBER(reading.verdict, FRAMING_COMPLETE);
	CHECK(!reading.parse.expects_continue);
	framing_parse_reset(&reading.parse);
}

TEST("a HEAD is known even when it is refused")
{
	static const char head[] = "HEAD / HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n";
	static const char other[] = "HEADS / HTTP/1.1\r\n";
	struct reading reading = read_bytes(head, strlen(head));

	CHECK_NUMBER(reading.parse.refusal, REFUSAL_BODY_UNEXPECTED);
	CHECK(framing_parse_is_head(&reading.parse));
	framing_parse_reset(&reading.parse);
	reading = read_bytes(other, strlen(other));
	CHECK(!framing_parse_is_head(&reading.parse));
	framing_parse_reset(&reading.parse);
}
