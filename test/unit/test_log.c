/* What log.h promises of each line. */
#include "test/unit/unit.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/unit/capture.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/log_line.h"

static char *line_of(enum log_format, const char *message, const struct log_field *, size_t fields);
static const char *member(const struct json *, size_t index, const char *key);
static int count_lines(const char *);

static void
log_one_event(void *argument)
{
	log_init(SEVERITY_INFO, FORMAT_JSON);
	log_set_process("worker-0");
	log_event(SEVERITY_WARNING,
	    LOG_FIELDS(LOG_TEXT("route", "/livez"), LOG_NUMBER("status", 200)), "hello %d", 7);
}

TEST("a JSON line has time, severity, message, process and pid, then the fields, in this order")
{
	struct arena arena = { 0 };
	const char *error = NULL;
	int status;
	int64_t wall_ms;
	char *line = capture(log_one_event, NULL, &status);
	const struct json *json = json_parse(&arena, line, strlen(line), &error);

	if (CHECK(json != NULL)) {
		CHECK(clock_parse_iso(member(json, 0, "time"), &wall_ms));
		CHECK(llabs(clock_wall_ms() - wall_ms) < 60 * 1000);
		CHECK_TEXT(member(json, 1, "severity"), "WARNING");
		CHECK_TEXT(member(json, 2, "message"), "hello 7");
		CHECK_TEXT(member(json, 3, "process"), "worker-0");
		CHECK(member(json, 4, "pid") && json_member(json, "pid")->integer > 1);
		CHECK_TEXT(member(json, 5, "route"), "/livez");
		CHECK(member(json, 6, "status") && json_member(json, "status")->integer == 200);
	}
	CHECK_NUMBER(count_lines(line), 1);
	free(line);
	arena_free(&arena);
}

/* The text of the member at that place, which must have that name; NULL otherwise. */
static const char *
member(const struct json *object, size_t index, const char *key)
{
	const struct json *json = object->first;

	while (json && index-- > 0)
		json = json->next;
	if (!json || strcmp(json->key, key) != 0)
		return NULL;
	return json->text ? json->text : "";
}

static int
count_lines(const char *text)
{
	int lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

TEST("a text line is time, severity, process[pid], message and key=value")
{
	struct log_field fields[] = {
		LOG_TEXT("plain", "abc"),
		LOG_NUMBER("number", -5),
		LOG_TEXT("empty", NULL),
		LOG_TEXT("blank", "a \"b\""),
	};
	char *line = line_of(FORMAT_TEXT, "it's \"fine\"", fields, 4);

	CHECK_TEXT(line,
	    "10:07:55.123 WARNING worker-0[123] it's \"fine\" plain=abc number=-5 empty=\"\" "
	    "blank=\"a \\\"b\\\"\"\n");
	free(line);
}

/* As log_line_format() makes it, with a NUL behind; to be freed. */
static char *
line_of(enum log_format format, const char *message, const struct log_field *fields, size_t count)
{
	struct log_event event = {
		.wall_ms = 1779703675123,
		.severity = SEVERITY_WARNING,
		.process = "worker-0",
		.pid = 123,
		.message = message,
		.fields = fields,
		.field_count = count,
	};
	char line[LOG_LINE_SIZE];
	size_t length = log_line_format(line, format, &event);

	return strndup(line, length);
}

TEST("whatever bytes are logged, the line is one line of valid JSON, and says them where they are "
     "UTF-8")
{
	srandom(2);
	for (int round = 0; round < 3000; round++) {
		char bytes[80] = "";
		struct arena arena = { 0 };
		const char *error;
		char *line;

		for (size_t i = 0; i < sizeof(bytes) - 1; i++)
			bytes[i] = (char)(1 + random() % 255);
		line = line_of(FORMAT_JSON, bytes, LOG_FIELDS(LOG_TEXT("field", bytes)));
		if (!json_parse(&arena, line, strlen(line), &error) || count_lines(line) != 1)
			CHECK_TEXT(line, "valid JSON");
		free(line);
		arena_free(&arena);
	}
	{
		struct arena arena = { 0 };
		const char *text = "\"\\/ \x01\n\t \xc3\xa9 \xf0\x9f\x98\x80";
		const char *error;
		char *line = line_of(FORMAT_JSON, text, NULL, 0);
		const struct json *json = json_parse(&arena, line, strlen(line), &error);

		CHECK_TEXT(json_member(json, "message")->text, text);
		free(line);
		arena_free(&arena);
	}
}

TEST("bytes that are not UTF-8 become U+FFFD, in JSON and in text")
{
	char *json = line_of(FORMAT_JSON, "a\xff z\xc3", NULL, 0);
	char *text = line_of(FORMAT_TEXT, "a\xff z\xc3", NULL, 0);

	CHECK(strstr(json, "\"a\xef\xbf\xbd z\xef\xbf\xbd\"") != NULL);
	CHECK(strstr(text, " a\xef\xbf\xbd z\xef\xbf\xbd\n") != NULL);
	free(json);
	free(text);
}

TEST("a newline in a message or a field cannot forge a line of text")
{
	char *line = line_of(FORMAT_TEXT, "a\nb\r\x1b[31m", LOG_FIELDS(LOG_TEXT("field", "c\nd")));

	CHECK_NUMBER(count_lines(line), 1);
	CHECK(strstr(line, "a\\u000ab\\u000d\\u001b[31m field=c\\u000ad\n") != NULL);
	free(line);
}

TEST(
    "a line is never longer than what a pipe takes in one piece: messages are cut, fields left out")
{
	enum { COUNT = 20 };
	static char large[20000];
	static char names[COUNT][8];
	struct log_field fields[COUNT];
	enum log_format formats[] = { FORMAT_JSON, FORMAT_TEXT };

	memset(large, '\x01', sizeof(large) - 1);
	for (size_t i = 0; i < COUNT; i++) {
		snprintf(names[i], sizeof(names[i]), "f%zu", i);
		fields[i] = LOG_TEXT(names[i], large);
	}
	fields[COUNT - 1] = LOG_NUMBER("last", 9);
	for (size_t i = 0; i < 2; i++) {
		bool is_json = formats[i] == FORMAT_JSON;
		char *line = line_of(formats[i], large, fields, COUNT);
		struct arena arena = { 0 };
		const char *error;

		CHECK(strlen(line) <= LOG_LINE_SIZE);
		CHECK_NUMBER(count_lines(line), 1);
		CHECK(strstr(line, "\xe2\x80\xa6") != NULL);
		CHECK(strstr(line, is_json ? ",\"f0\":\"\\u0001" : " f0=\\u0001") != NULL);
		CHECK(strstr(line, is_json ? ",\"last\":9}\n" : " last=9\n") != NULL);
		if (is_json)
			CHECK(json_parse(&arena, line, strlen(line), &error) != NULL);
		free(line);
		arena_free(&arena);
	}
}

static void
log_all_severities(void *argument)
{
	log_init(*(enum log_severity *)argument, FORMAT_TEXT);
	log_debug("x");
	log_info("x");
	log_warning("x");
	log_error("x");
	log_critical("x");
	log_flush();
}

TEST("what is less severe than asked for is not logged")
{
	for (enum log_severity least = SEVERITY_DEBUG; least <= SEVERITY_CRITICAL; least++) {
		int status;
		char *text = capture(log_all_severities, &least, &status);

		CHECK_NUMBER(count_lines(text), 5 - (int)least);
		free(text);
	}
}

static void
log_before_init(void *argument)
{
	log_debug("no");
	log_info("yes");
	log_flush();
}

TEST("before log_init() lines go out as text, from INFO up")
{
	int status;
	char *text = capture(log_before_init, NULL, &status);

	CHECK(fnmatch("??:??:??.??? INFO mitrad[[]*] yes\n", text, 0) == 0);
	free(text);
}

static void
log_without_flush(void *argument)
{
	log_init(SEVERITY_INFO, FORMAT_TEXT);
	log_info("one");
	if (argument)
		log_warning("two");
}

TEST("INFO waits for a flush; WARNING takes along what waits")
{
	int status;
	char *info = capture(log_without_flush, NULL, &status);
	char *both = capture(log_without_flush, &status, &status);

	CHECK_TEXT(info, "");
	CHECK_NUMBER(count_lines(both), 2);
	CHECK(strstr(both, "one\n") && strstr(both, "two\n"));
	free(info);
	free(both);
}

static void
log_from_two(void *argument)
{
	int status;

	log_init(SEVERITY_INFO, FORMAT_TEXT);
	log_info("gathered by the parent");
	if (fork() == 0) {
		log_after_fork();
		log_set_process("child");
		log_info("pid %d", (int)getpid());
		log_flush();
		_exit(0);
	}
	wait(&status);
	log_flush();
}

TEST("after a fork the child writes none of its parent's lines, and its own pid")
{
	int status, pid_in_brackets = 0, pid_in_message = 1;
	char *text = capture(log_from_two, NULL, &status);
	const char *line = strstr(text, "child[");

	CHECK_NUMBER(count_lines(text), 2);
	if (CHECK(line != NULL))
		CHECK(sscanf(line, "child[%d] pid %d", &pid_in_brackets, &pid_in_message) == 2);
	CHECK_NUMBER(pid_in_brackets, pid_in_message);
	free(text);
}

static void
end_fatally(void *argument)
{
	log_init(SEVERITY_CRITICAL, FORMAT_TEXT);
	if (argument)
		fatal_configuration("no such %s", "thing");
	fatal("no such %s", "thing");
}

TEST("fatal() says why and exits 1, fatal_configuration() 2")
{
	int status;
	char *text = capture(end_fatally, NULL, &status);

	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	CHECK(strstr(text, "CRITICAL") && strstr(text, "no such thing\n"));
	free(text);
	text = capture(end_fatally, &status, &status);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 2);
	CHECK(strstr(text, "CRITICAL") && strstr(text, "no such thing\n"));
	free(text);
}
