/*
 * answers: a head is collected until its empty line, a body is only counted.
 */
#include "test/bench/answers.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FIELD "content-length:"

/* The head ends with a NUL here. */
static bool
head_read(struct answer *answer)
{
	const char *line = answer->head;

	if (strncmp(line, "HTTP/1.1 ", 9) != 0)
		return false;
	answer->status = atoi(line + 9);
	if (answer->status == 204 || answer->status == 304)
		return true;
	while ((line = strstr(line, "\r\n")) != NULL) {
		line += 2;
		if (strncasecmp(line, FIELD, sizeof(FIELD) - 1) == 0) {
			answer->body_left = strtoull(line + sizeof(FIELD) - 1, NULL, 10);
			return true;
		}
	}
	return false;
}

/* How many of the bytes belong to the head; 0: it is bad. */
static size_t
head_feed(struct answer *answer, const char *bytes, size_t length)
{
	size_t before = answer->head_length, room = sizeof(answer->head) - 1 - before;
	size_t taken = length < room ? length : room;
	const char *end;

	memcpy(answer->head + before, bytes, taken);
	answer->head_length += taken;
	end = memmem(answer->head, answer->head_length, "\r\n\r\n", 4);
	if (end == NULL)
		return taken;
	answer->head_length = (size_t)(end - answer->head) + 4;
	answer->head[answer->head_length] = '\0';
	return head_read(answer) ? answer->head_length - before : 0;
}

enum answer_state
answer_feed(struct answer *answer, const char *bytes, size_t length)
{
	if (answer->status == 0) {
		size_t taken = head_feed(answer, bytes, length);

		if (taken == 0)
			return ANSWER_BAD;
		bytes += taken;
		length -= taken;
		if (answer->status == 0)
			return length == 0 ? ANSWER_PARTIAL : ANSWER_BAD;
	}
	if (length > answer->body_left)
		return ANSWER_BAD;
	answer->body_left -= length;
	return answer->body_left == 0 ? ANSWER_COMPLETE : ANSWER_PARTIAL;
}
