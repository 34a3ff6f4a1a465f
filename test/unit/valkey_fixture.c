/* valkey_fixture: see the header. */
#include "test/unit/valkey_fixture.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"

#define TICK_MS   2
#define MOMENT_MS 5 /* no turn of the loop takes longer, unless others have the processor */

struct event_base *base;
int fixture_timeout_ms = TIMEOUT_MS;

static struct event *ticker; /* keeps the loop turning */
static int64_t ran_ms, turned_ms;
static int log_pipe = -1;    /* its end for reading */
static char logged[1 << 20]; /* by the test that runs, and a NUL */
static size_t logged_length;

static void
tick(evutil_socket_t fd, short what, void *argument)
{
	int64_t now_ms = clock_monotonic_ms(), since_ms = now_ms - turned_ms;

	ran_ms += since_ms < MOMENT_MS ? since_ms : MOMENT_MS;
	turned_ms = now_ms;
}

int64_t
fixture_ran_ms(void)
{
	return ran_ms;
}

/* The log opens anew the pipe that it finds as its stdout, and keeps it. */
static void
catch_log(void)
{
	int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	int ends[2];

	MUST(out >= 0 && pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
	log_pipe = ends[0];
	fflush(stdout);
	MUST(dup2(ends[1], STDOUT_FILENO) == STDOUT_FILENO);
	log_init(SEVERITY_DEBUG, FORMAT_TEXT);
	log_info("caught");
	log_flush();
	MUST(dup2(out, STDOUT_FILENO) == STDOUT_FILENO);
	close(out);
	close(ends[1]);
}

static void
read_log(void)
{
	ssize_t length;

	log_flush();
	while (
	    logged_length < sizeof(logged) - 1 && (length = read(log_pipe, logged + logged_length,
						       sizeof(logged) - 1 - logged_length)) > 0)
		logged_length += (size_t)length;
	logged[logged_length] = '\0';
}

void
fixture_begin(void)
{
	static const struct timeval every = { 0, TICK_MS * 1000 };

	if (log_pipe < 0)
		catch_log();
	read_log();
	logged_length = 0;
	base = event_base_new();
	ticker = event_new(base, -1, EV_PERSIST, tick, NULL);
	MUST(event_add(ticker, &every) == 0);
}

void
fixture_end(void)
{
	event_free(ticker);
	event_base_free(base);
}

void
fixture_gave_up(const char *file, int line, const char *condition)
{
	read_log();
	printf("%s:%d: never came true: %s\nlog:\n%s", file, line, condition, logged);
	exit(1);
}

int64_t
fixture_give_up_ms(void)
{
	return clock_monotonic_ms() + GENEROUS_MS;
}

bool
fixture_turn(int64_t give_up_ms)
{
	MUST(event_base_loop(base, EVLOOP_ONCE) >= 0);
	return clock_monotonic_ms() < give_up_ms;
}

void
fixture_turn_for(int64_t ms)
{
	int64_t end_ms = clock_monotonic_ms() + ms;

	while (fixture_turn(end_ms))
		continue;
}

int
fixture_logged(const char *text)
{
	int count = 0;

	read_log();
	for (const char *line = logged, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
		count += memmem(line, (size_t)(end - line), text, strlen(text)) != NULL;
	return count;
}

void
fixture_check_part(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		CHECK_TEXT(text, part);
}

const struct config *
fixture_config(const char *format, ...)
{
	static char url[512];
	static struct config config;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(url, sizeof(url), format, arguments);
	va_end(arguments);
	config = (struct config){ .valkey_url = url, .valkey_timeout_ms = fixture_timeout_ms };
	return &config;
}

struct valkey *
fixture_admin(int port)
{
	int usual_ms = fixture_timeout_ms;
	struct valkey *admin;

	fixture_timeout_ms = GENEROUS_MS;
	admin = valkey_new(base, NULL, fixture_config("redis://127.0.0.1:%d", port));
	fixture_timeout_ms = usual_ms;
	return admin;
}

static void
answered(void *argument, const char *error, redisReply *const *replies)
{
	struct answer *answer = argument;
	const redisReply *first;

	answer->calls++;
	answer->after_ms = clock_monotonic_ms() - answer->sent_ms;
	answer->after_ran_ms = ran_ms - answer->sent_ran_ms;
	CHECK((error == NULL) == (replies != NULL));
	if (error != NULL) {
		CHECK(*error != '\0');
		snprintf(answer->error, sizeof(answer->error), "%s", error);
		return;
	}
	first = replies[0];
	if (first->type == REDIS_REPLY_INTEGER)
		snprintf(answer->text, sizeof(answer->text), "%lld", first->integer);
	else if (first->str != NULL)
		snprintf(answer->text, sizeof(answer->text), "%s", first->str);
}

void
fixture_send(struct valkey_batch *batch, struct answer *answer)
{
	*answer = (struct answer){ .sent_ms = clock_monotonic_ms(), .sent_ran_ms = ran_ms };
	valkey_send(batch, answered, answer);
	CHECK(answer->calls == 0);
}

void
fixture_expect_failure(struct valkey *v, const char *error_part)
{
	struct answer answer;

	SEND(v, &answer, "PING");
	WAIT_UNTIL(answer.calls > 0);
	fixture_check_part(answer.error, error_part);
}

const char *
fixture_ask(struct valkey *v, const char *command, ...)
{
	static struct answer answer;
	struct valkey_batch *batch = valkey_batch_new(v);
	const char *values[16];
	size_t lengths[16];
	va_list arguments;
	int count = 0;

	va_start(arguments, command);
	for (const char *value = command; value != NULL; value = va_arg(arguments, const char *)) {
		values[count] = value;
		lengths[count++] = strlen(value);
	}
	va_end(arguments);
	valkey_add_argv(batch, count, values, lengths);
	fixture_send(batch, &answer);
	WAIT_UNTIL(answer.calls > 0);
	CHECK_TEXT(answer.error, "");
	return answer.text;
}
