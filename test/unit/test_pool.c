/* pool: memory for libevent, as malloc() would give it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/event.h>

#include "common/pool.h"
#include "test/unit/unit.h"

static unsigned
next(unsigned *state)
{
	return *state = *state * 1103515245 + 12345;
}

TEST("buffers keep their bytes through any growth, draining and reuse")
{
	struct evbuffer *buffers[32] = { 0 };
	size_t lengths[32] = { 0 };
	unsigned char marks[32] = { 0 };
	unsigned state = 1;

	pool_install();
	for (int round = 0; round < 20000; round++) {
		unsigned i = next(&state) >> 8 & 31, what = next(&state) >> 8 & 3;
		static unsigned char bytes[20000];
		size_t length = next(&state) >> 8 & 16383;

		if (buffers[i] == NULL) {
			buffers[i] = evbuffer_new();
			marks[i] = (unsigned char)round;
		}
		if (what < 2) {
			memset(bytes, marks[i], length);
			evbuffer_add(buffers[i], bytes, length);
			lengths[i] += length;
		} else if (what == 2) {
			size_t least = length < lengths[i] ? length : lengths[i];

			evbuffer_drain(buffers[i], least);
			lengths[i] -= least;
		} else {
			const unsigned char *all = evbuffer_pullup(buffers[i], -1);
			bool whole = evbuffer_get_length(buffers[i]) == lengths[i];

			for (size_t at = 0; at < lengths[i]; at++)
				whole &= all[at] == marks[i];
			if (!CHECK(whole))
				return;
			evbuffer_free(buffers[i]);
			buffers[i] = NULL;
			lengths[i] = 0;
		}
	}
	for (int i = 0; i < 32; i++)
		if (buffers[i] != NULL)
			evbuffer_free(buffers[i]);
}

TEST("an event base, its timers and its end live on it")
{
	struct event_base *base = event_base_new();

	CHECK(base != NULL);
	event_base_loop(base, EVLOOP_NONBLOCK);
	event_base_free(base);
}
