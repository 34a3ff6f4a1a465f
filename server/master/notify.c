/*
 * notify: one datagram per message, never waiting. The socket is opened for each, so that no descriptor
 * has to be carried through forks and reloads.
 */
#include "server/master/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"

static struct sockaddr_un address; /* its family is 0 if nobody listens */
static socklen_t address_length;
static int64_t watchdog_period_ms; /* 0: none */
static int64_t watchdog_due_ms;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

void
notify_init(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	const char *watchdog_us = getenv("WATCHDOG_USEC");
	const char *watchdog_pid = getenv("WATCHDOG_PID");

	if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(address.sun_path))
		return;
	address.sun_family = AF_UNIX;
	memcpy(address.sun_path, path, strlen(path));
	address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (path[0] == '@')
		address.sun_path[0] = '\0';

	/* Half of the time allowed, as sd_watchdog_enabled(3) recommends. */
	if (watchdog_us && (!watchdog_pid || atoi(watchdog_pid) == getpid()))
		watchdog_period_ms = atoll(watchdog_us) / 1000 / 2;
}

void
notify_ready(const char *status)
{
	say("READY=1\nMAINPID=%d\nSTATUS=%s", (int)getpid(), status);
}

void
notify_reloading(void)
{
	say("RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=Reloading", (long long)clock_monotonic_us());
}

void
notify_stopping(void)
{
	say("STOPPING=1\nSTATUS=Stopping");
}

void
notify_status(const char *status)
{
	say("STATUS=%s", status);
}

int64_t
notify_watchdog(int64_t now_ms)
{
	if (watchdog_period_ms <= 0)
		return INT64_MAX;
	if (now_ms >= watchdog_due_ms) {
		say("WATCHDOG=1");
		watchdog_due_ms = now_ms + watchdog_period_ms;
	}
	return watchdog_due_ms;
}

static void
say(const char *format, ...)
{
	char message[512];
	va_list arguments;
	int length, fd;

	if (address.sun_family == 0)
		return;
	va_start(arguments, format);
	length = vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	if ((size_t)length >= sizeof(message))
		length = sizeof(message) - 1;

	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)!sendto(fd, message, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL,
	    (const struct sockaddr *)&address, address_length);
	close(fd);
}
