/*
 * replay: gives the files of a corpus to a fuzz target, one after the other.
 *
 * So that what a fuzzer once found is tried by every run of the tests, with any compiler.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static int replay(const char *directory, const char *name);

int
main(int count, char **arguments)
{
	struct dirent **entries;
	int files, replayed = 0;

	if (count != 2 || (files = scandir(arguments[1], &entries, NULL, alphasort)) < 0) {
		fprintf(stderr, "usage: %s DIRECTORY\n", arguments[0]);
		return 2;
	}
	for (int i = 0; i < files; i++) {
		if (entries[i]->d_name[0] != '.')
			replayed += replay(arguments[1], entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	/* A target that breaks its promise aborts; a corpus that is not there proves nothing. */
	printf("%d passed, %d failed\n", replayed, replayed == 0);
	return replayed == 0;
}

static int
replay(const char *directory, const char *name)
{
	struct stat status;
	uint8_t *bytes;
	char *path;
	FILE *file;

	/* Flushed, so that the name of the one that aborts stands last. */
	printf("%s\n", name);
	fflush(stdout);
	if (asprintf(&path, "%s/%s", directory, name) < 0 || !(file = fopen(path, "r")))
		abort();
	/* Exactly as large as the file, so that a sanitizer sees a step too far. */
	if (fstat(fileno(file), &status) != 0 || !(bytes = malloc((size_t)status.st_size)))
		abort();
	if (fread(bytes, 1, (size_t)status.st_size, file) != (size_t)status.st_size)
		abort();
	fclose(file);
	LLVMFuzzerTestOneInput(bytes, (size_t)status.st_size);
	free(bytes);
	free(path);
	return 1;
}
