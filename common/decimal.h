/* decimal: numbers as text, where printf() would be most of the work. */
#ifndef COMMON_DECIMAL_H
#define COMMON_DECIMAL_H

#include <stdint.h>

#define DECIMAL_MAX 20 /* digits of a uint64_t */

/* Writes the digits, no NUL, so that they end before `end`, and returns where they begin. */
static inline char *
decimal_before(char *end, uint64_t number)
{
	do
		*--end = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	return end;
}

#endif
