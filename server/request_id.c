/*
 * request_id: random bytes come from the kernel in blocks, as one system call per request would cost
 * more than all the rest of it. They need not be secret, only distinct; fork() empties the child's pool so
 * that two workers never share one.
 */
#include "server/request_id.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#include "common/log.h"

static struct {
	bool watched; /* pool_forget() will be called */
	size_t used;
	unsigned char bytes[4096];
} pool = { .used = sizeof(pool.bytes) };

static void
pool_forget(void)
{
	pool.used = sizeof(pool.bytes);
}

static void
pool_fill(void)
{
	if (!pool.watched && pthread_atfork(NULL, NULL, pool_forget) != 0)
		fatal("out of memory");
	pool.watched = true;
	/* Over 256 bytes getrandom() may be interrupted by a signal. */
	for (size_t got = 0; got < sizeof(pool.bytes);) {
		ssize_t n = getrandom(pool.bytes + got, sizeof(pool.bytes) - got, 0);

		if (n > 0)
			got += (size_t)n;
	}
	pool.used = 0;
}

static const unsigned char *
random_16(void)
{
	const unsigned char *taken;

	if (pool.used + 16 > sizeof(pool.bytes))
		pool_fill();
	taken = pool.bytes + pool.used;
	pool.used += 16;
	return taken;
}

void
request_id_new(char id[REQUEST_ID_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *random = random_16();
	char *out = id;

	for (int i = 0; i < 16; i++) {
		unsigned char byte = random[i];

		if (i == 6)
			byte = (unsigned char)((byte & 0x0f) | 0x40); /* RFC 9562: version 4 */
		if (i == 8)
			byte = (unsigned char)((byte & 0x3f) | 0x80); /* and its variant */
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = digits[byte >> 4];
		*out++ = digits[byte & 15];
	}
	*out = '\0';
}

bool
request_id_sane(const char *id)
{
	static const char allowed[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:+/=@-";
	size_t length = strlen(id);

	return length >= 1 && length < REQUEST_ID_SIZE && strspn(id, allowed) == length;
}
