/*
 * notify: tells systemd how the server is doing (sd_notify's protocol: datagrams to $NOTIFY_SOCKET).
 * Without systemd everything here does nothing.
 */
#ifndef SERVER_NOTIFY_H
#define SERVER_NOTIFY_H

#include <stdint.h>

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. */
void notify_init(void);

void notify_ready(const char *status);
/* A reload begins; it ends with notify_ready(), whatever its result. */
void notify_reloading(void);
void notify_stopping(void);
void notify_status(const char *status);

/* Pats the watchdog if it is time to. When it is time again, monotonic; INT64_MAX without a watchdog. */
int64_t notify_watchdog(int64_t now_ms);

#endif
