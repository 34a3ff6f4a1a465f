/*
 * meters: the CPU time of other processes, user and system, all their threads, as the kernel accounts for it
 * in nanoseconds.
 *
 * A process's clock can be read by anybody who knows its pid (clock_getcpuclockid), and costs nothing while
 * it is not read; /proc/PID/stat has the same sum, but in hundredths of a second.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "test/bench/load.h"

/* One that has ended, as a PostgreSQL backend may, counts no more. */
static int64_t
cpu_ns(pid_t pid)
{
	struct timespec used;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
		return -1;
	return used.tv_sec * INT64_C(1000000000) + used.tv_nsec;
}

void
meter_parse(struct meter *meter, char *argument)
{
	char *at = strchr(argument, '=');

	if (at == NULL)
		fail("--cpu wants NAME=PID,PID…, not %s", argument);
	*at++ = '\0';
	meter->name = argument;
	for (char *pid = strtok(at, ","); pid != NULL; pid = strtok(NULL, ",")) {
		if (meter->count == METER_PIDS_MAX)
			fail("more than %d processes in %s", METER_PIDS_MAX, argument);
		meter->pids[meter->count++] = (pid_t)atoi(pid);
	}
}

void
meters_begin(struct meter *meters, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (size_t pid = 0; pid < meters[i].count; pid++)
			meters[i].began_ns[pid] = cpu_ns(meters[i].pids[pid]);
}

void
meters_end(struct meter *meters, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (size_t pid = 0; pid < meters[i].count; pid++) {
			int64_t ended_ns = cpu_ns(meters[i].pids[pid]);

			if (ended_ns >= 0 && meters[i].began_ns[pid] >= 0)
				meters[i].used_ns += ended_ns - meters[i].began_ns[pid];
		}
}
