/*
 * program: where argv[0] leads, found as the shell has found it.  Not /proc/self/exe: that names the
 * file that we came from, even after it was replaced, and a reload wants the one that has replaced it.
 */
#include "server/master/program.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

static char *absolute_path(const char *name);
static char *search(const char *name);
static char *x_printf(const char *directory, int length, const char *name);

char **
program_copy_arguments(int argc, char **argv)
{
	char **copy = calloc((size_t)argc + 2, sizeof(*copy));

	if (!copy)
		fatal("out of memory");
	copy[0] = absolute_path(argc > 0 ? argv[0] : "");
	for (int i = 1; i < argc; i++)
		copy[i] = x_printf("", 0, argv[i]);
	return copy;
}

void
program_free_arguments(char **argv)
{
	for (char **argument = argv; *argument; argument++)
		free(*argument);
	free(argv);
}

static char *
absolute_path(const char *name)
{
	char directory[PATH_MAX];

	if (name[0] == '/')
		return x_printf("", 0, name);
	if (!strchr(name, '/'))
		return search(name);
	if (!getcwd(directory, sizeof(directory)))
		fatal("the current directory is gone");
	if (strncmp(name, "./", 2) == 0)
		name += 2;
	return x_printf(directory, (int)strlen(directory), name);
}

/* In PATH. Who started us under a name that is not there leaves us our own file only. */
static char *
search(const char *name)
{
	const char *rest = getenv("PATH");
	char itself[PATH_MAX] = { 0 };

	while (rest && name[0] != '\0') {
		int length = (int)strcspn(rest, ":");
		char *path = x_printf(rest, length, name);

		if (path[0] == '/' && access(path, X_OK) == 0)
			return path;
		free(path);
		rest = rest[length] == ':' ? rest + length + 1 : NULL;
	}
	if (readlink("/proc/self/exe", itself, sizeof(itself) - 1) < 0)
		fatal("/proc/self/exe cannot be read");
	return x_printf("", 0, itself);
}

static char *
x_printf(const char *directory, int length, const char *name)
{
	char *path;

	if (asprintf(&path, "%.*s%s%s", length, directory, length > 0 ? "/" : "", name) < 0)
		fatal("out of memory");
	return path;
}
