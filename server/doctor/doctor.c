/*
 * doctor: the order of the checks, their lines, and what several of them need.
 *
 * Everything blocks, and everything has a deadline.  What one check finds broken is not looked at further: one fault, one
 * FAIL.
 */
#include "server/doctor/doctor.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>

#include "common/config.h"
#include "common/log.h"

#define CLOCK_WARN_MS 1000
#define CLOCK_FAIL_MS 5000

/* A name's way to an address. */
struct lookup {
	bool done;
	int error;
	char address[INET6_ADDRSTRLEN];
};

static void looked_up(int error, struct evutil_addrinfo *, void *);
static void say(const char *verdict, const char *subject, const char *format, va_list)
    __attribute__((format(printf, 3, 0)));

int
doctor_command(const struct config *config)
{
	struct doctor doctor = { .config = config };

	/* The clients would log what is said here anyhow. */
	log_init(SEVERITY_CRITICAL, config->log_format);
	doctor.base = event_base_new();
	if (!doctor.base)
		fatal("no event loop");
	doctor.dns = evdns_base_new(
	    doctor.base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (!doctor.dns) /* there is no name server, so names are those of /etc/hosts */
		doctor.dns = evdns_base_new(doctor.base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (!doctor.dns)
		fatal("out of memory");
	evdns_base_set_option(doctor.dns, "timeout:", "2");
	evdns_base_set_option(doctor.dns, "attempts:", "2");

	doctor_settings(&doctor);
	doctor_host(&doctor);
	doctor_postgres(&doctor);
	doctor_valkey(&doctor);

	evdns_base_free(doctor.dns, 0);
	event_base_free(doctor.base);
	printf("%d ok, %d warn, %d FAIL\n", doctor.oks, doctor.warnings, doctor.failures);
	fflush(stdout);
	return doctor.failures > 0 ? 1 : 0;
}

void
doctor_ok(struct doctor *doctor, const char *subject, const char *format, ...)
{
	va_list arguments;

	doctor->oks++;
	va_start(arguments, format);
	say("ok", subject, format, arguments);
	va_end(arguments);
}

void
doctor_warn(struct doctor *doctor, const char *subject, const char *format, ...)
{
	va_list arguments;

	doctor->warnings++;
	va_start(arguments, format);
	say("warn", subject, format, arguments);
	va_end(arguments);
}

void
doctor_fail(struct doctor *doctor, const char *subject, const char *format, ...)
{
	va_list arguments;

	doctor->failures++;
	va_start(arguments, format);
	say("FAIL", subject, format, arguments);
	va_end(arguments);
}

/* What servers and libraries say may have several lines; a finding has one. */
static void
say(const char *verdict, const char *subject, const char *format, va_list arguments)
{
	char text[1024];

	vsnprintf(text, sizeof(text), format, arguments);
	for (char *c = text; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	printf("%-4s  %s: %s\n", verdict, subject, text);
	fflush(stdout);
}

bool
doctor_resolves(struct doctor *doctor, const char *subject, const char *host, const char *setting)
{
	const struct evutil_addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	unsigned char address[sizeof(struct in6_addr)];
	struct lookup lookup = { .done = false };

	if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
		return true;
	evdns_getaddrinfo(doctor->dns, host, NULL, &hints, looked_up, &lookup);
	while (!lookup.done && event_base_loop(doctor->base, EVLOOP_ONCE) == 0)
		;
	if (lookup.done && lookup.error == 0) {
		doctor_ok(doctor, subject, "%s is %s", host, lookup.address);
		return true;
	}
	doctor_fail(doctor, subject,
	    "%s does not resolve (%s). Check the name in %s, /etc/resolv.conf and /etc/hosts.",
	    host, lookup.done ? evutil_gai_strerror(lookup.error) : "no answer", setting);
	return false;
}

static void
looked_up(int error, struct evutil_addrinfo *found, void *argument)
{
	struct lookup *lookup = argument;
	const void *address;

	lookup->done = true;
	lookup->error = error;
	if (!found)
		return;
	address = found->ai_family == AF_INET6
		      ? (const void *)&((const struct sockaddr_in6 *)(const void *)found->ai_addr)
			    ->sin6_addr
		      : (const void *)&((const struct sockaddr_in *)(const void *)found->ai_addr)
			    ->sin_addr;
	inet_ntop(found->ai_family, address, lookup->address, sizeof(lookup->address));
	evutil_freeaddrinfo(found);
}

/* Their moment lies between our two, so what lies outside of these is certain. */
void
doctor_clock(struct doctor *doctor, const char *subject, int64_t theirs_ms, int64_t before_ms,
    int64_t after_ms)
{
	int64_t difference_ms = theirs_ms < before_ms  ? before_ms - theirs_ms
				: theirs_ms > after_ms ? theirs_ms - after_ms
						       : 0;
	const char *way = theirs_ms < before_ms ? "behind" : "ahead of";
	static const char advice[] = "Heartbeats are compared across machines: run a time service "
				     "(chrony, systemd-timesyncd) on all of them";

	if (difference_ms > CLOCK_FAIL_MS)
		doctor_fail(doctor, subject, "%.1f s %s ours. %s.", (double)difference_ms / 1000,
		    way, advice);
	else if (difference_ms > CLOCK_WARN_MS)
		doctor_warn(doctor, subject, "%.1f s %s ours. %s.", (double)difference_ms / 1000,
		    way, advice);
	else
		doctor_ok(doctor, subject, "agrees with ours");
}

bool
doctor_is_local(const char *host)
{
	struct in6_addr six;
	struct in_addr four;

	if (host[0] == '/' || host[0] == '@' || strcmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &four) == 1)
		return ntohl(four.s_addr) >> 24 == IN_LOOPBACKNET;
	return inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

int
doctor_sweepers(const struct config *config)
{
	return config->role == ROLE_ALL || config->role == ROLE_SWEEPER;
}
