/* loaded: clearenv(), setenv(), config_load(). */
#include "test/unit/loaded.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct loaded
loaded_new(const char *const *environment, const char *file)
{
	struct loaded loaded = { 0 };
	size_t length;
	FILE *out = open_memstream(&loaded.faults, &length);
	char *path = file ? loaded_file(file, strlen(file)) : NULL;

	clearenv();
	for (; *environment; environment++)
		putenv((char *)*environment);
	loaded.count = config_load(&loaded.config, path, ROLE_ALL, out);
	fclose(out);
	if (path)
		unlink(path);
	free(path);
	return loaded;
}

struct loaded
loaded_with(const char *line)
{
	return loaded_new((const char *const[]){ GOOD_DATABASE, GOOD_SECRET, line, NULL }, NULL);
}

void
loaded_free(struct loaded *loaded)
{
	config_free(&loaded->config);
	free(loaded->faults);
}

char *
loaded_file(const void *content, size_t length)
{
	char *path = strdup("/tmp/mitrad-config-XXXXXX");
	int fd = mkstemp(path);

	if (fd < 0 || write(fd, content, length) != (ssize_t)length)
		abort();
	close(fd);
	return path;
}
