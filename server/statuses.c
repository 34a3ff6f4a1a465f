/* statuses: a short list, searched from the front, where the frequent ones stand. */
#include "server/statuses.h"

#include "common/series.h"

static const int statuses[] = { 200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 408, 409, 413,
	415, 423, 429, 500, 503, 0 };

#define LAST ((int)(sizeof(statuses) / sizeof(statuses[0])) - 1)

_Static_assert(
    sizeof(statuses) / sizeof(statuses[0]) <= SERIES_STATUSES, "series.h has no room for all");

int
status_index(int status)
{
	int index = 0;

	while (index < LAST && statuses[index] != status)
		index++;
	return index;
}

int
status_at(int index)
{
	return index < LAST ? statuses[index] : 0;
}
