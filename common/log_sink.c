/*
 * log_sink: the ways to write without waiting, the best one first.
 *
 * O_NONBLOCK belongs to the open file description, which we share with our parent, our siblings and perhaps a
 * shell; so stdout is opened anew through /proc and made non-blocking there.  That cannot be done with a
 * socket (journald's), where each send() can be told not to wait, nor when stdout belongs to another user (a
 * container engine's pipe, a terminal after su). Into such a pipe we splice() from a pipe of our own, since
 * splice() takes the wish not to wait per call, where write() does so only since Linux 6.4.  What remains is
 * asked by poll() first, and may wait if another process is quicker.
 */
#include "common/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum sink_kind {
	SINK_UNKNOWN,
	SINK_CLOSED, /* there is no stdout */
	SINK_FILE,   /* makes nobody wait; and the shell that opened it may write on where we end */
	SINK_REOPENED, /* `reopened` is ours alone */
	SINK_SOCKET,
	SINK_SPLICED, /* through `staging` */
	SINK_POLLED,
};

static int target = STDOUT_FILENO;
static enum sink_kind kind;
static int reopened = -1;
static int staging[2] = { -1,
	-1 };         /* a pipe of this process only: [0] is read by splice(), [1] written */
static size_t staged; /* bytes waiting in it, all of one write */

static void close_descriptor(int *fd);
static enum sink_kind find_kind(void);
static ssize_t write_spliced(const char *bytes, size_t length);
static void unstage(void);
static ssize_t write_polled(const char *bytes, size_t length);

void
log_sink_use(int fd)
{
	target = fd;
}

void
log_sink_open(void)
{
	/* What a parent staged is in the parent's pipe, and the parent sends it. */
	close_descriptor(&reopened);
	close_descriptor(&staging[0]);
	close_descriptor(&staging[1]);
	staged = 0;
	kind = find_kind();
}

static void
close_descriptor(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static enum sink_kind
find_kind(void)
{
	struct stat status;
	char path[32];

	if (fstat(target, &status) != 0)
		return SINK_CLOSED;
	if (S_ISSOCK(status.st_mode))
		return SINK_SOCKET;
	if (S_ISREG(status.st_mode))
		return SINK_FILE;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", target);
	reopened = open(path, O_WRONLY | O_NONBLOCK | O_APPEND | O_CLOEXEC | O_NOCTTY);
	if (reopened >= 0)
		return SINK_REOPENED;
	if (S_ISFIFO(status.st_mode) && pipe2(staging, O_NONBLOCK | O_CLOEXEC) == 0)
		return SINK_SPLICED;
	return SINK_POLLED;
}

ssize_t
log_sink_write(const char *bytes, size_t length)
{
	switch (kind) {
	case SINK_FILE:
		return write(target, bytes, length);
	case SINK_REOPENED:
		return write(reopened, bytes, length);
	case SINK_SOCKET:
		return send(target, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	case SINK_SPLICED:
		return write_spliced(bytes, length);
	case SINK_POLLED:
		return write_polled(bytes, length);
	case SINK_UNKNOWN:
		log_sink_open();
		return log_sink_write(bytes, length);
	case SINK_CLOSED:
		break;
	}
	errno = EBADF;
	return -1;
}

/*
 * An empty pipe takes up to PIPE_BUF bytes into one buffer, and splice() moves that buffer as a whole: so it
 * enters stdout in one piece.  Bytes that are staged are written only when they have been moved; until then
 * the caller comes back with the same bytes.
 */
static ssize_t
write_spliced(const char *bytes, size_t length)
{
	ssize_t moved;

	if (staged == 0) {
		ssize_t written = write(staging[1], bytes, length);

		if (written < 0)
			return -1;
		staged = (size_t)written;
	}
	moved = splice(staging[0], NULL, target, NULL, staged, SPLICE_F_NONBLOCK);
	if (moved >= 0) {
		staged -= (size_t)moved;
		return moved;
	}
	if (errno == EINVAL || errno == ENOSYS) {
		kind = SINK_POLLED;
		return write_polled(bytes, length);
	}
	if (errno != EAGAIN && errno != EINTR)
		unstage();
	return -1;
}

/* The caller gives these bytes up. Keeps errno. */
static void
unstage(void)
{
	int saved_errno = errno;
	char discarded[LOG_SINK_BYTES_MAX];

	while (read(staging[0], discarded, sizeof(discarded)) > 0)
		;
	staged = 0;
	errno = saved_errno;
}

static ssize_t
write_polled(const char *bytes, size_t length)
{
	struct pollfd out = { .fd = target, .events = POLLOUT };

	if (poll(&out, 1, 0) != 1) {
		errno = EAGAIN;
		return -1;
	}
	return write(target, bytes, length);
}
