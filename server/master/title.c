/*
 * title: Linux shows as a process's command line whatever stands in the memory that execve() put the
 * arguments into, with the environment right behind it.  So both are copied away and the whole stretch
 * is ours to write.  That also removes the secrets of the environment from /proc/<pid>/environ.
 */
#include "server/master/title.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/log.h"

static char *space; /* NULL before title_init() */
static size_t space_bytes;
static char **kept_strings __attribute__((used));
static char **kept_environment __attribute__((used));

static char *end_of(char **strings, char *end);
static char **copy_of(char **strings);

void
title_init(int argc, char **argv)
{
	char *end;

	if (argc == 0)
		return;
	end = end_of(environ, end_of(argv, argv[0]));
	environ = copy_of(environ);
	space = argv[0];
	space_bytes = (size_t)(end - space);
}

/* The end of the strings that lie one behind the other from `end` on. */
static char *
end_of(char **strings, char *end)
{
	for (; *strings; strings++)
		if (*strings == end)
			end += strlen(end) + 1;
	return end;
}

/*
 * Of a variable that is unset later nobody else knows the string any more, so that leak checkers need
 * our list of them.
 */
static char **
copy_of(char **strings)
{
	size_t count = 0;

	while (strings[count])
		count++;
	kept_strings = calloc(count + 1, sizeof(*kept_strings));
	kept_environment = calloc(count + 1, sizeof(*kept_environment));
	if (!kept_strings || !kept_environment)
		fatal("out of memory");
	for (size_t i = 0; i < count; i++)
		if (!(kept_strings[i] = kept_environment[i] = strdup(strings[i])))
			fatal("out of memory");
	return kept_environment;
}

void
title_set(const char *format, ...)
{
	char title[64];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(title, sizeof(title), format, arguments);
	va_end(arguments);

	prctl(PR_SET_NAME, title);
	if (!space)
		return;
	memset(space, 0, space_bytes);
	strncpy(space, title, space_bytes - 1);
}
