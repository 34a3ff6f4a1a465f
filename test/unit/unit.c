/* unit: the list of tests, the checks, and main(). */
#include "test/unit/unit.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TESTS_MAX 100

static struct {
	const char *title;
	unit_test_fn *run;
} tests[TESTS_MAX];

static size_t test_count;
static int failed_checks; /* of the test that runs */
static char about[300];

void
unit_register(const char *title, unit_test_fn *run)
{
	if (test_count == TESTS_MAX)
		abort();
	tests[test_count].title = title;
	tests[test_count++].run = run;
}

int
main(void)
{
	int failed = 0;

	signal(SIGPIPE, SIG_IGN); /* as in mitrad */
	for (size_t i = 0; i < test_count; i++) {
		failed_checks = 0;
		unit_about("%s", "");
		tests[i].run();
		printf("%s %s\n", failed_checks == 0 ? "ok    " : "FAILED", tests[i].title);
		fflush(stdout);
		failed += failed_checks > 0;
	}
	printf("%zu passed, %d failed\n", test_count - (size_t)failed, failed);
	return failed > 0;
}

void
unit_about(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(about, sizeof(about), format, arguments);
	va_end(arguments);
}

bool
unit_check(bool held, const char *condition, const char *file, int line)
{
	if (held)
		return true;
	failed_checks++;
	printf("%s:%d: not so: %s%s%s\n", file, line, condition, about[0] == '\0' ? "" : "; with ",
	    about);
	return false;
}

bool
unit_check_text(const char *actual, const char *expected, const char *file, int line)
{
	if (actual && strcmp(actual, expected) == 0)
		return true;
	failed_checks++;
	printf("%s:%d: expected \"%s\", got \"%s\"%s%s\n", file, line, expected,
	    actual ? actual : "(null)", about[0] == '\0' ? "" : "; with ", about);
	return false;
}

bool
unit_check_number(int64_t actual, int64_t expected, const char *file, int line)
{
	if (actual == expected)
		return true;
	failed_checks++;
	printf("%s:%d: expected %" PRId64 ", got %" PRId64 "%s%s\n", file, line, expected, actual,
	    about[0] == '\0' ? "" : "; with ", about);
	return false;
}
