/*
 * requests: they are made once, by whoever starts us, so that sending one is one write.
 */
#include <stdlib.h>
#include <string.h>

#include "test/bench/load.h"

static char *
file_read(const char *path, size_t *length)
{
	FILE *file = fopen(path, "rb");
	char *bytes;
	long size;

	if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0)
		fail("%s cannot be read", path);
	rewind(file);
	bytes = malloc((size_t)size + 1);
	if (bytes == NULL || fread(bytes, 1, (size_t)size, file) != (size_t)size)
		fail("%s cannot be read", path);
	fclose(file);
	*length = (size_t)size;
	return bytes;
}

void
requests_read(struct requests *requests, const char *path)
{
	size_t size, at = 0, room = 0;
	const char *bytes = file_read(path, &size);

	while (at < size) {
		uint32_t length;

		if (size - at < sizeof(length))
			fail("%s ends in the middle of a length", path);
		memcpy(&length, bytes + at, sizeof(length));
		at += sizeof(length);
		if (size - at < length)
			fail("%s ends in the middle of a request", path);
		if (requests->count == room) {
			room = room ? 2 * room : 1024;
			requests->texts = realloc(requests->texts, room * sizeof(*requests->texts));
			if (requests->texts == NULL)
				fail("out of memory");
		}
		requests->texts[requests->count++] = (struct text){ bytes + at, length };
		at += length;
	}
	if (requests->count == 0)
		fail("%s has no requests", path);
}
