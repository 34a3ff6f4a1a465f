/* email: see the header. */
#include "common/email.h"

#include <string.h>

#define LENGTH_MAX 254

bool
email_valid(const char *text)
{
	const char *at = strchr(text, '@');

	if (at == NULL || at == text || at[1] == '\0' || strchr(at + 1, '@') != NULL ||
	    strlen(text) > LENGTH_MAX)
		return false;
	for (; *text != '\0'; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}
