/*
 * fuzz_config: any bytes as the file of --config.
 *
 * The environment is empty, so all of it is parsed, checked and, if nothing is wrong with it, shown.  Every
 * fault must be one line.  A file with a NAME_FILE in it is skipped: it would make us read this machine's files.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static int file_of(const uint8_t *data, size_t size);
static int count_lines(const char *);

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config config;
	char path[40], *text;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	int file, faults;

	if (memmem(data, size, "_FILE", 5)) {
		fclose(out);
		free(text);
		return 0;
	}
	clearenv();
	file = file_of(data, size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	faults = config_load(&config, path, ROLE_ALL, out);
	fflush(out);
	MUST(count_lines(text) == faults);
	if (faults == 0)
		config_print(&config, out);
	config_free(&config);
	close(file);
	fclose(out);
	free(text);
	return 0;
}

static int
file_of(const uint8_t *data, size_t size)
{
	int file = memfd_create("config", MFD_CLOEXEC);

	MUST(file >= 0 && write(file, data, size) == (ssize_t)size);
	return file;
}

static int
count_lines(const char *text)
{
	int lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}
