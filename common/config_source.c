/*
 * config_source: first the file is read as a whole, line by line; then each setting is looked up, in the
 * environment before the file.
 *
 * Faults of the file name the line and never show it: a line that is no NAME=value may be a secret that was
 * pasted in the wrong way.
 */
#include "common/config_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

#define FILE_BYTES_MAX   ((size_t)256 * 1024)
#define SECRET_BYTES_MAX ((size_t)64 * 1024)
#define NAME_SHOWN_MAX   ((size_t)64)

struct config_line {
	struct config_line *next;
	const char *name;
	const char *value;
	int number;
};

static void read_lines(struct config_source *);
static struct config_line *read_line(struct config_source *, char *text, int number);
static bool unquote(char **value);
static char *trim(char *text);
static void check_name(struct config_source *, const struct config_line *);
static bool is_name(const char *);
static struct config_given find_one(struct config_source *, const struct setting *, bool in_file);
static struct config_given
read_name_file(struct config_source *, const char *name, const char *path);
static const char *line_value(struct config_source *, const char *name, const char **origin);
static const char *read_file(const char *path, char *bytes, size_t size, size_t *length);

void
config_fault(struct config_faults *faults, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(faults->out, format, arguments);
	va_end(arguments);
	fputc('\n', faults->out);
	faults->count++;
}

void
config_source_open(struct config_source *source, struct arena *memory, const char *file,
    struct config_faults *faults)
{
	const char *reason;
	size_t length;

	*source = (struct config_source){ .memory = memory, .faults = faults, .file = file };
	if (!file)
		return;
	source->content_bytes = FILE_BYTES_MAX + 1;
	source->content = calloc(1, source->content_bytes);
	if (!source->content)
		fatal("out of memory");
	reason = read_file(file, source->content, source->content_bytes, &length);
	if (reason)
		config_fault(faults, "--config %s: %s", file, reason);
	else
		read_lines(source);
}

void
config_source_close(struct config_source *source)
{
	if (source->content)
		explicit_bzero(source->content, source->content_bytes);
	free(source->content);
}

static void
read_lines(struct config_source *source)
{
	struct config_line **end = &source->lines;
	char *rest = source->content;
	char *text;
	int number = 0;

	while ((text = strsep(&rest, "\n"))) {
		*end = read_line(source, text, ++number);
		if (!*end)
			continue;
		check_name(source, *end);
		end = &(*end)->next;
	}
}

/* NULL: nothing stands in it, or nothing that can be used. */
static struct config_line *
read_line(struct config_source *source, char *text, int number)
{
	struct config_line *line;
	char *value = text;
	char *name = trim(strsep(&value, "="));

	if (name[0] == '#' || (name[0] == '\0' && !value))
		return NULL;
	if (!value) {
		config_fault(source->faults, "%s:%d: not a line of the form NAME=value",
		    source->file, number);
		return NULL;
	}
	value = trim(value);
	if (!unquote(&value)) {
		config_fault(source->faults, "%s:%d: a quote that opens is not closed",
		    source->file, number);
		return NULL;
	}
	line = arena_alloc(source->memory, sizeof(*line));
	*line = (struct config_line){ .name = name, .value = value, .number = number };
	return line;
}

static char *
trim(char *text)
{
	char *end;

	text += strspn(text, " \t\r");
	end = text + strlen(text);
	while (end > text && strchr(" \t\r", end[-1]))
		end--;
	*end = '\0';
	return text;
}

/* 'value' and "value" are value; no escapes. */
static bool
unquote(char **value)
{
	char quote = (*value)[0];
	size_t length = strlen(*value);

	if (quote != '"' && quote != '\'')
		return true;
	if (length < 2 || (*value)[length - 1] != quote)
		return false;
	(*value)[length - 1] = '\0';
	(*value)++;
	return true;
}

static void
check_name(struct config_source *source, const struct config_line *line)
{
	const char *nearest;

	if (settings_knows(line->name))
		return;
	if (!is_name(line->name)) {
		config_fault(source->faults,
		    "%s:%d: what stands before the = is not a setting's name", source->file,
		    line->number);
		return;
	}
	nearest = settings_nearest(source->memory, line->name);
	config_fault(source->faults, "%s: no such setting%s%s%s (%s:%d)", line->name,
	    nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "",
	    source->file, line->number);
}

static bool
is_name(const char *text)
{
	size_t length = strspn(
	    text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");

	return length > 0 && length <= NAME_SHOWN_MAX && text[length] == '\0';
}

struct config_given
config_source_find(struct config_source *source, const struct setting *setting)
{
	struct config_given given = find_one(source, setting, false);

	if (given.value || given.faulty)
		return given;
	return find_one(source, setting, true);
}

/*
 * An optional setting may be given as empty; a required one that is empty is not given, nor is one that comes
 * as NAME_FILE.
 */
static struct config_given
find_one(struct config_source *source, const struct setting *setting, bool in_file)
{
	struct config_given given = { .origin = "environment" };
	const char *path_origin;
	char *name_file = arena_printf(source->memory, "%s_FILE", setting->name);
	const char *path = NULL;

	given.value = in_file ? line_value(source, setting->name, &given.origin)
			      : getenv(setting->name);
	if (setting->kind->secret)
		path = in_file ? line_value(source, name_file, &path_origin) : getenv(name_file);
	if (path && path[0] == '\0')
		path = NULL;
	if (given.value && given.value[0] == '\0' && (path || !setting->fallback))
		given.value = NULL;

	if (path && given.value) {
		config_fault(source->faults,
		    "%s: %s is given as well; only one of them can count (%s)", setting->name,
		    name_file, given.origin);
		return (struct config_given){ .faulty = true };
	}
	if (path)
		return read_name_file(source, name_file, path);
	if (given.value)
		given.value = arena_strdup(source->memory, given.value);
	return given;
}

struct config_given
config_source_find_plain(struct config_source *source, const char *name)
{
	struct config_given given = { .value = getenv(name), .origin = "environment" };

	if (!given.value)
		given.value = line_value(source, name, &given.origin);
	return given;
}

/* The last line of that name counts, as with systemd's EnvironmentFile. */
static const char *
line_value(struct config_source *source, const char *name, const char **origin)
{
	const char *value = NULL;

	for (const struct config_line *line = source->lines; line; line = line->next)
		if (strcmp(line->name, name) == 0) {
			value = line->value;
			*origin = arena_printf(source->memory, "%s:%d", source->file, line->number);
		}
	return value;
}

/* Editors end a file with a newline that is no part of the secret. */
static struct config_given
read_name_file(struct config_source *source, const char *name, const char *path)
{
	char bytes[SECRET_BYTES_MAX];
	struct config_given given = { .origin = name };
	size_t length;
	const char *reason = read_file(path, bytes, sizeof(bytes), &length);

	if (length > 0 && bytes[length - 1] == '\n')
		length--;
	if (length > 0 && bytes[length - 1] == '\r')
		length--;
	if (reason) {
		config_fault(source->faults, "%s: %s: %s", name, path, reason);
		given.faulty = true;
	} else if (length > 0) {
		given.value = arena_strndup(source->memory, bytes, length);
	}
	explicit_bzero(bytes, sizeof(bytes));
	return given;
}

/* At most size - 1 bytes, none of them NUL, and a NUL after them. NULL, or why not. */
static const char *
read_file(const char *path, char *bytes, size_t size, size_t *length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = -1;

	*length = 0;
	if (fd < 0)
		return strerror(errno);
	while (*length < size && (got = read(fd, bytes + *length, size - *length)) > 0)
		*length += (size_t)got;
	close(fd);
	if (got < 0)
		return strerror(errno);
	if (*length == size)
		return "the file is too large";
	if (memchr(bytes, '\0', *length))
		return "the file has a NUL byte in it";
	bytes[*length] = '\0';
	return NULL;
}
