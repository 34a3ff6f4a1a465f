/*
 * valkey_resp: Valkey's protocol (RESP2), both ways: commands out, replies in.
 *
 * Commands are written straight into an evbuffer, because hiredis's formatters allocate for each.
 * Replies are read by hiredis, with bounds that it lacks: a peer that announces two thousand
 * million elements makes hiredis 0.14.1 allocate and later walk 16 GiB, one that never ends a reply
 * is buffered for ever, and hiredis 1.2 nests as deeply as it is told to and frees by recursion.
 */
#include "common/valkey_resp.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>

#include "common/decimal.h"
#include "common/log.h"

#define ELEMENTS_MAX    (1 << 20)          /* of one array */
#define SHORT_BYTES     128                /* of an argument that is copied once more */
#define DEPTH_MAX       7                  /* arrays in arrays; hiredis 0.14 knows no more anyhow */
#define REPLY_BYTES_MAX (64 * 1024 * 1024) /* of one reply */
#define IDLE_BYTES_MAX  (64 * 1024)        /* what the reader keeps allocated between replies */

#if HIREDIS_MAJOR >= 1
typedef size_t elements_count;
#else
typedef int elements_count;
#endif

struct valkey_resp_reader {
	redisReader *hiredis;
	size_t unanswered_bytes; /* fed since the last whole reply */
	const char *fault;       /* ours; hiredis keeps its own */
	redisReplyObjectFunctions functions;
};

static void
append(struct evbuffer *buffer, const void *bytes, size_t length)
{
	if (evbuffer_add(buffer, bytes, length) != 0)
		fatal("out of memory");
}

#define COUNT_SIZE 24 /* of "$18446744073709551615\r\n", more or less */

/* "*3\r\n", "$12\r\n", without a NUL. Returns its length. */
static size_t
count_write(char line[COUNT_SIZE], char kind, size_t count)
{
	char digits[COUNT_SIZE], *first = digits + sizeof(digits);
	size_t length;

	*--first = '\n';
	*--first = '\r';
	first = decimal_before(first, count);
	*--first = kind;
	length = (size_t)(digits + sizeof(digits) - first);
	memcpy(line, first, length);
	return length;
}

static void
append_count(struct evbuffer *buffer, char kind, size_t count)
{
	char line[COUNT_SIZE];

	append(buffer, line, count_write(line, kind, count));
}

void
valkey_resp_begin(struct evbuffer *buffer, int arguments)
{
	append_count(buffer, '*', (size_t)arguments);
}

void
valkey_resp_argument(struct evbuffer *buffer, const char *value, size_t length)
{
	append_count(buffer, '$', length);
	append(buffer, value, length);
	append(buffer, "\r\n", 2);
}

/* The same in one piece, as an evbuffer takes one piece much faster than three. */
static void
argument_short(struct evbuffer *buffer, const char *value, size_t length)
{
	char piece[COUNT_SIZE + SHORT_BYTES + 2];
	size_t at;

	if (length > SHORT_BYTES) {
		valkey_resp_argument(buffer, value, length);
		return;
	}
	at = count_write(piece, '$', length);
	memcpy(piece + at, value, length);
	memcpy(piece + at + length, "\r\n", 2);
	append(buffer, piece, at + length + 2);
}

void
valkey_resp_commandv(struct evbuffer *buffer, const char *name, va_list arguments)
{
	va_list again;
	const char *value;
	int count = 1;

	va_copy(again, arguments);
	while (va_arg(again, const char *) != NULL)
		count++;
	va_end(again);

	valkey_resp_begin(buffer, count);
	for (value = name; value != NULL; value = va_arg(arguments, const char *))
		argument_short(buffer, value, strlen(value));
}

void
valkey_resp_command(struct evbuffer *buffer, const char *name, ...)
{
	va_list arguments;

	va_start(arguments, name);
	valkey_resp_commandv(buffer, name, arguments);
	va_end(arguments);
}

/* hiredis's own, given when a reader is made; the same for all of them. */
static void *(*hiredis_create_array)(const redisReadTask *, elements_count);

/* NULL means out of memory to hiredis, which then gives up; that is what such a reply deserves. */
static void *
create_bounded_array(const redisReadTask *task, elements_count elements)
{
	int depth = 1;

	for (const redisReadTask *outer = task->parent; outer != NULL; outer = outer->parent)
		depth++;
	if (depth > DEPTH_MAX || elements > ELEMENTS_MAX)
		return NULL;
	return hiredis_create_array(task, elements);
}

struct valkey_resp_reader *
valkey_resp_reader_new(void)
{
	struct valkey_resp_reader *reader = calloc(1, sizeof(*reader));

	if (reader == NULL || (reader->hiredis = redisReaderCreate()) == NULL)
		fatal("out of memory");
	hiredis_create_array = reader->hiredis->fn->createArray;
	reader->functions = *reader->hiredis->fn;
	reader->functions.createArray = create_bounded_array;
	reader->hiredis->fn = &reader->functions;
	reader->hiredis->maxbuf = IDLE_BYTES_MAX;
	return reader;
}

void
valkey_resp_reader_free(struct valkey_resp_reader *reader)
{
	if (reader == NULL)
		return;
	redisReaderFree(reader->hiredis);
	free(reader);
}

void
valkey_resp_feed(struct valkey_resp_reader *reader, const char *bytes, size_t length)
{
	if (valkey_resp_fault(reader) != NULL)
		return;
	reader->unanswered_bytes += length;
	if (reader->unanswered_bytes > REPLY_BYTES_MAX)
		reader->fault = "a reply of more than 64 MiB";
	else
		(void)redisReaderFeed(
		    reader->hiredis, bytes, length); /* its errors: valkey_resp_fault() */
}

redisReply *
valkey_resp_next(struct valkey_resp_reader *reader)
{
	void *parsed = NULL;
	redisReply *reply;

	if (valkey_resp_fault(reader) != NULL ||
	    redisReaderGetReply(reader->hiredis, &parsed) != REDIS_OK)
		return NULL;
	if (parsed == NULL)
		return NULL;
	reply = parsed;
	reader->unanswered_bytes = reader->hiredis->len - reader->hiredis->pos;
	if (reply->type >= REDIS_REPLY_STRING && reply->type <= REDIS_REPLY_ERROR)
		return reply;
	/* hiredis 1.x also reads RESP3, which nobody asked the server for. */
	freeReplyObject(reply);
	reader->fault = "a reply of an unknown type";
	return NULL;
}

const char *
valkey_resp_fault(const struct valkey_resp_reader *reader)
{
	if (reader->fault != NULL)
		return reader->fault;
	return reader->hiredis->err != 0 ? reader->hiredis->errstr : NULL;
}
