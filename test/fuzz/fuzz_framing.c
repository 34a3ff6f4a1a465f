/*
 * fuzz_framing: any bytes as what a client sends.
 *
 * Byte by byte they must be read as they are all at once.  What is taken must be in normal form: with its framing put back,
 * it is read again as the same request, and evhttp's parser finds the same path in its target.  And its fields are lines that
 * can be told apart without knowing anything else.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/http.h>

#include "server/gate/framing_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static enum framing_verdict
parse_bytes(struct framing_parse *, const char *, size_t, size_t *taken);
static void compare(const struct framing_parse *, const struct framing_parse *);
static void check_normal(const struct framing_parse *);
static void check_target(const struct framing_parse *);
static void check_fields(const struct framing_parse *);

static const struct framing_limits limits = FRAMING_LIMITS(1);

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

/* The stream as a connection reads it: request after request, up to the first that is refused. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct framing_parse whole = { 0 }, pieces = { 0 };
	enum framing_verdict verdict = FRAMING_COMPLETE;

	while (verdict == FRAMING_COMPLETE && size > 0) {
		size_t taken, taken_of_pieces;

		verdict = framing_parse(&whole, &limits, (const char *)data, size, &taken);
		MUST(parse_bytes(&pieces, (const char *)data, size, &taken_of_pieces) == verdict);
		MUST(taken == taken_of_pieces && taken <= size);
		MUST(verdict != FRAMING_MORE || taken == size);
		compare(&whole, &pieces);
		if (verdict == FRAMING_COMPLETE)
			check_normal(&whole);
		framing_parse_reset(&whole);
		framing_parse_reset(&pieces);
		data += taken;
		size -= taken;
	}
	return 0;
}

static enum framing_verdict
parse_bytes(struct framing_parse *p, const char *bytes, size_t count, size_t *taken)
{
	enum framing_verdict verdict = FRAMING_MORE;
	size_t one;

	for (*taken = 0; *taken < count && verdict == FRAMING_MORE; *taken += one)
		verdict = framing_parse(p, &limits, bytes + *taken, 1, &one);
	return verdict;
}

static void
compare(const struct framing_parse *a, const struct framing_parse *b)
{
	MUST(a->step == b->step && a->refusal == b->refusal && a->method == b->method);
	MUST(a->length == b->length && a->head == b->head && a->request_line == b->request_line);
	MUST(a->length == 0 || memcmp(a->text, b->text, a->length) == 0);
	MUST(a->close == b->close && a->expects_continue == b->expects_continue);
	MUST(a->length <= limits.head_bytes + limits.body_bytes);
}

static void
check_normal(const struct framing_parse *p)
{
	struct framing_parse again = { 0 };
	size_t body = p->length - p->head, taken;
	char framing[64];

	check_target(p);
	check_fields(p);
	/* The head alone may have become longer than it can be by the field that is put back. */
	snprintf(framing, sizeof(framing), "Content-Length:%zu\r\n\r\n", body);
	if (p->head + strlen(framing) > limits.head_bytes)
		return;
	MUST(framing_parse(&again, &limits, p->text, p->head, &taken) == FRAMING_MORE);
	if (again.fields < 100) {
		framing_parse(&again, &limits, framing, strlen(framing), &taken);
		if (body > 0)
			framing_parse(&again, &limits, p->text + p->head, body, &taken);
		MUST(again.step == STEP_COMPLETE);
		MUST(again.length == p->length && memcmp(again.text, p->text, p->length) == 0);
	}
	framing_parse_reset(&again);
}

static void
check_target(const struct framing_parse *p)
{
	const char *start = memchr(p->text, ' ', p->head);
	char *target = strndup(start + 1, strcspn(start + 1, " "));
	struct evhttp_uri *uri = evhttp_uri_parse_with_flags(target, EVHTTP_URI_NONCONFORMANT);

	MUST(uri != NULL);
	MUST(evhttp_uri_get_host(uri) == NULL && evhttp_uri_get_scheme(uri) == NULL);
	MUST(strncmp(evhttp_uri_get_path(uri), target, strcspn(target, "?")) == 0);
	evhttp_uri_free(uri);
	free(target);
}

static void
check_fields(const struct framing_parse *p)
{
	const char *at = p->text + p->request_line, *end = p->text + p->head, *cr;

	MUST(at[-1] == '\n' && memchr(p->text, '\n', p->head) == at - 1);
	for (; at < end; at = cr + 2) {
		cr = memchr(at, '\r', (size_t)(end - at));
		MUST(cr != NULL && cr + 1 < end && cr[1] == '\n');
		MUST(*at != ':' && memchr(at, ':', (size_t)(cr - at)) != NULL);
		MUST(memchr(at, '\0', (size_t)(cr - at)) == NULL);
		MUST(memchr(at, '\n', (size_t)(cr - at)) == NULL);
	}
}
