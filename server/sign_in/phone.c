/*
 * phone: keeps the digits, then decides by their beginning what country they are of.
 */
#include "server/sign_in/phone.h"

#include <stddef.h>
#include <string.h>

#define DIGITS_MAX   15 /* E.164 */
#define DIGITS_LEAST 8  /* shorter ones are short codes, not subscribers */

/* The digits of the text, and whether a '+' led them; false if anything else is in it. */
static bool
digits_of(const char *text, char digits[24], bool *international)
{
	size_t count = 0;

	*international = false;
	for (; *text != '\0'; text++) {
		if (*text >= '0' && *text <= '9') {
			if (count == 23)
				return false;
			digits[count++] = *text;
		} else if (*text == '+') {
			if (count > 0 || *international)
				return false;
			*international = true;
		} else if (strchr(" -.()", *text) == NULL) {
			return false;
		}
	}
	digits[count] = '\0';
	return true;
}

static bool
begins(const char *text, const char *prefix)
{
	while (*prefix != '\0')
		if (*text++ != *prefix++)
			return false;
	return true;
}

bool
phone_normalise(const char *text, char phone[PHONE_SIZE])
{
	char digits[24];
	const char *rest = digits, *country = "";
	bool international;
	size_t length;

	if (!digits_of(text, digits, &international))
		return false;
	if (!international && begins(rest, "00")) {
		rest += 2;
	} else if (!international && rest[0] == '0') {
		rest += 1;
		country = "62";
	} else if (!international && !begins(rest, "62")) {
		country = rest[0] == '8' ? "62" : "?"; /* "812…": the 0 is often left out too */
	}
	/* "+62 0812…": the trunk 0 has no place after a country code. */
	if (begins(rest, "620")) {
		rest += 3;
		country = "62";
	}
	length = strlen(country) + strlen(rest);
	if (*country == '?' || (*country == '\0' && rest[0] == '0') || length < DIGITS_LEAST ||
	    length > DIGITS_MAX)
		return false;
	phone[0] = '+';
	memcpy(phone + 1, country, strlen(country));
	memcpy(phone + 1 + strlen(country), rest, strlen(rest) + 1);
	return true;
}
