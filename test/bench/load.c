/*
 * load: sends prepared requests over many connections, and says how many were answered, how fast, and what CPU
 * time the servers used for it.
 *
 *   load --port N --requests FILE [--connections 64] [--cycle 1] [--warmup S] [--seconds S] [--rate R]
 *        [--cpu NAME=PID,PID]… [--samples FILE] [--idle]
 *
 * Closed loop: each connection sends its next request when it has the answer to the one before.  It goes
 * through a slice of the file of its own, `cycle` requests long, and ends after a whole cycle, so that what
 * went online goes offline again.
 *
 * Open loop (--rate): requests are due at random moments, as from many independent senders, whether or not
 * earlier ones were answered.  Time counts from the moment a request was due, not from when a
 * connection was free for it: a server that stalls is charged for all who had to wait.
 *
 * First the connections are made, then the warm-up, then what is measured; CPU clocks are read at exactly
 * its two ends.  One JSON object on stdout.
 */
#include "test/bench/load.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS       INT64_C(1000000000)
#define EVENTS          256
/* An answer that takes longer ends the run as failed. */
#define PATIENCE_NS     (60 * SECOND_NS)
/* A closed loop is measured until there was an answer for each connection, though no longer than this. */
#define STALL_NS        (20 * SECOND_NS)
#define CONNECT_SECONDS 10

struct connection {
	int fd;
	size_t at; /* which request of its cycle is next */
	int64_t due_ns;
	bool busy;
	struct answer answer;
	struct connection *next; /* in the list of the free, open loop */
};

struct run {
	struct plan plan;
	struct requests requests;
	struct meter meters[METERS_MAX];
	size_t meter_count;

	struct connection *connections;
	size_t busy;
	int epoll;
	char *scratch; /* what is read and only counted */

	/* Open loop. */
	struct connection *free_first, **free_last; /* used in turn */
	uint64_t random;
	int64_t next_due_ns;
	size_t next_request;

	int64_t began_ns, ends_ns; /* of what is measured */
	bool measuring;
	bool stopping; /* nothing new is sent, but cycles are finished */
	struct histogram histogram;
	uint64_t answered,
	    refused;       /* while measuring; refused: neither 2xx nor what was asked for */
	int first_refusal; /* its status */
	uint64_t bytes;
};

#define SCRATCH_SIZE (256 * 1024)

static void options_read(struct run *, int argc, char **argv);
static void connections_open(struct run *);
static void run_closed(struct run *);
static void run_open(struct run *);
static void run_idle(struct run *);
static void report(const struct run *);

void
fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("load: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

int64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * SECOND_NS + now.tv_nsec;
}

int
main(int argc, char **argv)
{
	static struct run run;

	prctl(PR_SET_TIMERSLACK, 1);
	options_read(&run, argc, argv);
	connections_open(&run);
	if (run.plan.idle)
		run_idle(&run);
	else if (run.plan.rate > 0)
		run_open(&run);
	else
		run_closed(&run);
	report(&run);
	return 0;
}

static const struct option names[] = {
	{ "port", required_argument, NULL, 'p' },
	{ "requests", required_argument, NULL, 'f' },
	{ "connections", required_argument, NULL, 'c' },
	{ "cycle", required_argument, NULL, 'y' },
	{ "warmup", required_argument, NULL, 'w' },
	{ "seconds", required_argument, NULL, 's' },
	{ "rate", required_argument, NULL, 'r' },
	{ "cpu", required_argument, NULL, 'u' },
	{ "samples", required_argument, NULL, 'o' },
	{ "idle", no_argument, NULL, 'i' },
	{ NULL, 0, NULL, 0 },
};

static void
option_read(struct run *run, int option)
{
	struct plan *plan = &run->plan;

	switch (option) {
	case 'p':
		plan->port = atoi(optarg);
		break;
	case 'f':
		requests_read(&run->requests, optarg);
		break;
	case 'c':
		plan->connections = strtoul(optarg, NULL, 10);
		break;
	case 'y':
		plan->cycle = strtoul(optarg, NULL, 10);
		break;
	case 'w':
		plan->warmup_seconds = atof(optarg);
		break;
	case 's':
		plan->seconds = atof(optarg);
		break;
	case 'r':
		plan->rate = atof(optarg);
		break;
	case 'u':
		if (run->meter_count == METERS_MAX)
			fail("more than %d --cpu", METERS_MAX);
		meter_parse(&run->meters[run->meter_count++], optarg);
		break;
	case 'o':
		plan->samples = fopen(optarg, "w");
		if (plan->samples == NULL)
			fail("%s: %s", optarg, strerror(errno));
		break;
	case 'i':
		plan->idle = true;
		break;
	default:
		exit(2);
	}
}

static void
options_read(struct run *run, int argc, char **argv)
{
	int option;

	run->plan = (struct plan){ .connections = 64, .cycle = 1, .seconds = 2 };
	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1)
		option_read(run, option);
	if (optind != argc || run->plan.port == 0 || run->requests.count == 0 ||
	    run->plan.connections == 0 || run->plan.cycle == 0)
		fail("wants --port and --requests, and counts above 0");
}

/* --- connections --- */

static int
connect_to(int port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct timeval patience = { .tv_sec = CONNECT_SECONDS };
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		fail("connect to port %d: %s", port, strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void
connections_open(struct run *run)
{
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	run->epoll = epoll_create1(EPOLL_CLOEXEC);
	run->scratch = malloc(SCRATCH_SIZE);
	run->connections = calloc(run->plan.connections, sizeof(*run->connections));
	if (run->epoll < 0 || run->scratch == NULL || run->connections == NULL)
		fail("out of memory or descriptors");
	for (size_t i = 0; i < run->plan.connections; i++) {
		struct connection *connection = &run->connections[i];
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = connection };

		connection->fd = connect_to(run->plan.port);
		if (epoll_ctl(run->epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
			fail("epoll_ctl: %s", strerror(errno));
	}
}

/* A request fits into an empty socket's buffer, so it goes out whole. */
static void
request_send(struct run *run, struct connection *connection, size_t which, int64_t due_ns)
{
	const struct text *text = &run->requests.texts[which % run->requests.count];

	connection->due_ns = due_ns;
	connection->busy = true;
	run->busy++;
	if (write(connection->fd, text->bytes, text->length) != (ssize_t)text->length)
		fail("a request could not be written: %s", strerror(errno));
}

static void
answer_count(struct run *run, struct connection *connection)
{
	int status = connection->answer.status;
	int64_t now = now_ns(), took_ns = now - connection->due_ns;

	if (took_ns > PATIENCE_NS)
		fail("an answer took longer than a minute");
	if (run->plan.samples != NULL)
		fprintf(run->plan.samples, "%lld %lld\n", (long long)connection->due_ns / 1000,
		    (long long)took_ns / 1000);
	if (!run->measuring)
		return;
	run->answered++;
	histogram_add(&run->histogram, (uint64_t)(took_ns / 1000));
	if (status < 200 || status > 299) {
		if (run->refused++ == 0)
			run->first_refusal = status;
	}
}

/* True: the answer is complete. Once read is enough: level-triggered epoll comes back for the rest. */
static bool
answer_read(struct run *run, struct connection *connection)
{
	ssize_t length = read(connection->fd, run->scratch, SCRATCH_SIZE);

	if (length < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (length <= 0)
		fail("the server closed a connection%s%s", length < 0 ? ": " : "",
		    length < 0 ? strerror(errno) : "");
	run->bytes += (uint64_t)length;
	if (!connection->busy)
		fail("an answer that nobody asked for");
	switch (answer_feed(&connection->answer, run->scratch, (size_t)length)) {
	case ANSWER_PARTIAL:
		return false;
	case ANSWER_BAD:
		fail("an answer that cannot be read: %.200s", connection->answer.head);
	case ANSWER_COMPLETE:
		break;
	}
	answer_count(run, connection);
	connection->busy = false;
	run->busy--;
	connection->answer.status = 0;
	connection->answer.head_length = 0;
	return true;
}

/* Waits until `until_ns` at most, and calls `answered` for each connection whose answer has come. */
static void
wait_answers(struct run *run, int64_t until_ns, void (*answered)(struct run *, struct connection *))
{
	struct epoll_event events[EVENTS];
	int64_t left_ns = until_ns - now_ns();
	struct timespec left = { 0 };
	int count;

	if (left_ns > 0)
		left = (struct timespec){ left_ns / SECOND_NS, left_ns % SECOND_NS };
	count = epoll_pwait2(run->epoll, events, EVENTS, &left, NULL);
	if (count < 0 && errno != EINTR)
		fail("epoll: %s", strerror(errno));
	for (int i = 0; i < count; i++)
		if (answer_read(run, events[i].data.ptr))
			answered(run, events[i].data.ptr);
}

static void
measure_begin(struct run *run)
{
	meters_begin(run->meters, run->meter_count);
	run->measuring = true;
	run->began_ns = now_ns();
	run->ends_ns = run->began_ns + (int64_t)(run->plan.seconds * SECOND_NS);
}

static void
measure_end(struct run *run)
{
	run->ends_ns = now_ns();
	meters_end(run->meters, run->meter_count);
	run->measuring = false;
}

static void
drain(struct run *run, void (*answered)(struct run *, struct connection *))
{
	int64_t until_ns = now_ns() + PATIENCE_NS;

	run->stopping = true;
	while (run->busy > 0) {
		if (now_ns() > until_ns)
			fail("%zu requests were never answered", run->busy);
		wait_answers(run, until_ns, answered);
	}
}

/* --- closed loop --- */

static void
closed_next(struct run *run, struct connection *connection)
{
	size_t slice = (size_t)(connection - run->connections) * run->plan.cycle;

	if (run->stopping && connection->at % run->plan.cycle == 0)
		return;
	request_send(run, connection, slice + connection->at % run->plan.cycle, now_ns());
	connection->at++;
}

static void
closed_for(struct run *run, int64_t until_ns)
{
	while (now_ns() < until_ns)
		wait_answers(run, until_ns, closed_next);
}

static void
run_closed(struct run *run)
{
	for (size_t i = 0; i < run->plan.connections; i++)
		closed_next(run, &run->connections[i]);
	closed_for(run, now_ns() + (int64_t)(run->plan.warmup_seconds * SECOND_NS));
	measure_begin(run);
	closed_for(run, run->ends_ns);
	while (run->answered < run->plan.connections && now_ns() < run->ends_ns + STALL_NS)
		wait_answers(run, run->ends_ns + STALL_NS, closed_next);
	measure_end(run);
	drain(run, closed_next);
}

/* --- open loop --- */

static void
open_free(struct run *run, struct connection *connection)
{
	connection->next = NULL;
	*run->free_last = connection;
	run->free_last = &connection->next;
}

/* Exponential gaps; the same ones in every run. */
static int64_t
open_gap_ns(struct run *run)
{
	run->random ^= run->random << 13;
	run->random ^= run->random >> 7;
	run->random ^= run->random << 17;
	return (int64_t)(-log(((double)(run->random >> 11) + 1) / 9007199254740993.0) /
			 run->plan.rate * SECOND_NS);
}

/* Sends what is due and has a connection. What has none stays due, and its time runs. */
static void
open_send_due(struct run *run)
{
	while (run->next_due_ns <= now_ns() && run->free_first != NULL) {
		struct connection *connection = run->free_first;

		run->free_first = connection->next;
		if (run->free_first == NULL)
			run->free_last = &run->free_first;
		request_send(run, connection, run->next_request++, run->next_due_ns);
		run->next_due_ns += open_gap_ns(run);
	}
}

static void
open_for(struct run *run, int64_t until_ns)
{
	while (now_ns() < until_ns) {
		open_send_due(run);
		wait_answers(run,
		    run->free_first != NULL && run->next_due_ns < until_ns ? run->next_due_ns
									   : until_ns,
		    open_free);
	}
}

static void
run_open(struct run *run)
{
	run->random = 0x9e3779b97f4a7c15;
	run->free_last = &run->free_first;
	for (size_t i = 0; i < run->plan.connections; i++)
		open_free(run, &run->connections[i]);
	run->next_due_ns = now_ns();
	open_for(run, now_ns() + (int64_t)(run->plan.warmup_seconds * SECOND_NS));
	measure_begin(run);
	open_for(run, run->ends_ns);
	measure_end(run);
	drain(run, open_free);
}

/* --- idle connections --- */

static void
idle_answered(struct run *run, struct connection *connection)
{
}

/* Says "ready" when each connection has had its answer, so that the servers' memory can be looked at. */
static void
run_idle(struct run *run)
{
	char byte;

	measure_begin(run);
	for (size_t i = 0; i < run->plan.connections; i++) {
		request_send(run, &run->connections[i], i, now_ns());
		while (run->busy > 0)
			wait_answers(run, now_ns() + SECOND_NS, idle_answered);
	}
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		continue;
	measure_end(run);
}

/* --- the result --- */

static void
report(const struct run *run)
{
	static const struct {
		const char *name;
		double share;
	} quantiles[] = { { "p50_us", 0.5 }, { "p90_us", 0.9 }, { "p99_us", 0.99 },
		{ "p999_us", 0.999 } };
	const struct histogram *histogram = &run->histogram;

	printf("{\"answered\":%llu,\"refused\":%llu,\"first_refusal\":%d,\"seconds\":%.6f,"
	       "\"bytes\":%llu,\"began_us\":%lld",
	    (unsigned long long)run->answered, (unsigned long long)run->refused, run->first_refusal,
	    (double)(run->ends_ns - run->began_ns) / SECOND_NS, (unsigned long long)run->bytes,
	    (long long)run->began_ns / 1000);
	for (size_t i = 0; i < sizeof(quantiles) / sizeof(*quantiles); i++)
		printf(",\"%s\":%llu", quantiles[i].name,
		    (unsigned long long)histogram_quantile(histogram, quantiles[i].share));
	printf(",\"max_us\":%llu,\"cpu_us\":{", (unsigned long long)histogram->max_us);
	for (size_t i = 0; i < run->meter_count; i++)
		printf("%s\"%s\":%.1f", i ? "," : "", run->meters[i].name,
		    (double)run->meters[i].used_ns / 1000);
	puts("}}");
}
