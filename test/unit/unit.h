/*
 * unit: tests of one module in one program.
 *
 *     TEST("a title is the promise that it keeps")
 *     {
 *         CHECK(1 + 1 == 2);
 *     }
 *
 * The tests of a file run in the order of the file; a check that fails is reported and the test goes on.  The
 * last line says "N passed, N failed".
 */
#ifndef TEST_UNIT_UNIT_H
#define TEST_UNIT_UNIT_H

#include <stdbool.h>
#include <stdint.h>

typedef void unit_test_fn(void);

#define TEST(title)          TEST_AT(title, __LINE__)
#define TEST_AT(title, line) TEST_NAMED(title, line)
#define TEST_NAMED(title, line)                                                \
	static unit_test_fn test_at_##line;                                    \
	__attribute__((constructor)) static void register_test_at_##line(void) \
	{                                                                      \
		unit_register((title), test_at_##line);                        \
	}                                                                      \
	static void test_at_##line(void)

void unit_register(const char *title, unit_test_fn *);

#define CHECK(condition)               unit_check((condition), #condition, __FILE__, __LINE__)
#define CHECK_TEXT(actual, expected)   unit_check_text((actual), (expected), __FILE__, __LINE__)
#define CHECK_NUMBER(actual, expected) unit_check_number((actual), (expected), __FILE__, __LINE__)

/* Each answers whether it held, for tests that cannot go on otherwise. */
bool unit_check(bool held, const char *condition, const char *file, int line);
bool unit_check_text(const char *actual, const char *expected, const char *file, int line);
bool unit_check_number(int64_t actual, int64_t expected, const char *file, int line);

/*
 * What a test says about the checks that follow, for rows of a table. Shown if one fails; "" takes it back.
 */
void unit_about(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
