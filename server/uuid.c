/* uuid: see uuid.h. */
#include "server/uuid.h"

bool
uuid_parse(const char *text, size_t length, char id[UUID_SIZE])
{
	if (length != UUID_SIZE - 1)
		return false;
	for (size_t i = 0; i < length; i++) {
		char c = text[i];

		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (c != '-')
				return false;
		} else if (c >= 'A' && c <= 'F') {
			c = (char)(c - 'A' + 'a');
		} else if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
			return false;
		}
		id[i] = c;
	}
	id[length] = '\0';
	return true;
}
