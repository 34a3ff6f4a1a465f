/*
 * pg_rows: reading a result.
 *
 * Columns are asked for by name.  A name that the result does not have, or a value that is not of the
 * asked type, is a programmer's error and fatal(): every call would show it.  How many rows there are
 * depends on the data, so a row beyond the last one reads as null instead.
 */
#include "common/pg_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

/* libpq's PQfnumber() folds case and may allocate; names in our SQL are plain lower case. */
static int
column_number(const struct rows *rows, const char *column)
{
	int columns = PQnfields(rows->result);

	for (int i = 0; i < columns; i++)
		if (strcmp(PQfname(rows->result, i), column) == 0)
			return i;
	return -1;
}

int
rows_count(const struct rows *rows)
{
	return PQntuples(rows->result);
}

bool
rows_has_column(const struct rows *rows, const char *column)
{
	return column_number(rows, column) >= 0;
}

const char *
rows_text_at(const struct rows *rows, int row, const char *column)
{
	int number = column_number(rows, column);

	if (number < 0)
		fatal("[postgres] the result has no column \"%s\"", column);
	if (row < 0 || row >= PQntuples(rows->result) || PQgetisnull(rows->result, row, number))
		return NULL;
	return PQgetvalue(rows->result, row, number);
}

int64_t
rows_integer_at(const struct rows *rows, int row, const char *column)
{
	const char *text = rows_text_at(rows, row, column);
	char *end;
	long long value;

	if (text == NULL)
		return 0;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0')
		fatal("[postgres] column \"%s\" is not an integer", column);
	return value;
}

bool
rows_flag_at(const struct rows *rows, int row, const char *column)
{
	const char *text = rows_text_at(rows, row, column);

	if (text == NULL)
		return false;
	if (strcmp(text, "t") != 0 && strcmp(text, "f") != 0)
		fatal("[postgres] column \"%s\" is not a boolean", column);
	return text[0] == 't';
}

const char *
rows_text(const struct rows *rows, const char *column)
{
	return rows_text_at(rows, 0, column);
}

int64_t
rows_integer(const struct rows *rows, const char *column)
{
	return rows_integer_at(rows, 0, column);
}

bool
rows_flag(const struct rows *rows, const char *column)
{
	return rows_flag_at(rows, 0, column);
}

const char *
rows_sqlstate(const struct rows *rows)
{
	const char *sqlstate = PQresultErrorField(rows->result, PG_DIAG_SQLSTATE);

	return sqlstate != NULL ? sqlstate : "";
}

const char *
rows_error(const struct rows *rows)
{
	const char *message = PQresultErrorField(rows->result, PG_DIAG_MESSAGE_PRIMARY);

	return message != NULL ? message : "";
}

void
rows_free(struct rows *rows)
{
	if (rows == NULL)
		return;
	PQclear(rows->result);
	free(rows);
}
