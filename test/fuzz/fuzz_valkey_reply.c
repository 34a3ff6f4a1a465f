/*
 * fuzz_valkey_reply: any bytes as Valkey's replies.
 *
 * What is read must not depend on how the bytes were cut on their way: the first byte of the input says into which pieces.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/valkey_resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

struct sum {
	size_t replies;
	uint64_t hash; /* of everything in them */
	int faulty;
};

static void
mix(struct sum *sum, const void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		sum->hash = (sum->hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3;
}

static void
add(struct sum *sum, const redisReply *reply, int depth)
{
	MUST(depth <= 7);
	mix(sum, &reply->type, sizeof(reply->type));
	if (reply->type == REDIS_REPLY_INTEGER)
		mix(sum, &reply->integer, sizeof(reply->integer));
	if (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS ||
	    reply->type == REDIS_REPLY_ERROR) {
		MUST(reply->str[reply->len] == '\0');
		mix(sum, reply->str, reply->len);
	}
	if (reply->type == REDIS_REPLY_ARRAY)
		for (size_t i = 0; i < reply->elements; i++)
			add(sum, reply->element[i], depth + 1);
}

static struct sum
read_in_pieces(const char *bytes, size_t length, size_t piece)
{
	struct valkey_resp_reader *reader = valkey_resp_reader_new();
	struct sum sum = { 0 };
	redisReply *reply;

	for (size_t start = 0; start < length; start += piece) {
		valkey_resp_feed(
		    reader, bytes + start, length - start < piece ? length - start : piece);
		while ((reply = valkey_resp_next(reader)) != NULL) {
			MUST(reply->type >= REDIS_REPLY_STRING && reply->type <= REDIS_REPLY_ERROR);
			sum.replies++;
			add(&sum, reply, 0);
			freeReplyObject(reply);
		}
	}
	sum.faulty = valkey_resp_fault(reader) != NULL;
	valkey_resp_reader_free(reader);
	return sum;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sum whole, pieces;

	if (size < 2)
		return 0;
	whole = read_in_pieces((const char *)data + 1, size - 1, size - 1);
	pieces = read_in_pieces((const char *)data + 1, size - 1, (size_t)data[0] + 1);
	MUST(whole.replies == pieces.replies && whole.hash == pieces.hash &&
	     whole.faulty == pieces.faulty);
	return 0;
}
