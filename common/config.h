/*
 * config: the effective configuration, from settings.def.
 *
 * Read once, at start, by the master or a one-shot command; it never changes inside a running process.  The
 * environment wins over the file, NAME_FILE gives a secret's NAME by file, PORT replaces PUBLIC_LISTEN's
 * port.  For the roles without a public listener that address becomes the internal one: platforms such as
 * Cloud Run connect to it.
 */
#ifndef COMMON_CONFIG_H
#define COMMON_CONFIG_H

#include <stdbool.h>
#include <stdio.h>

#include "common/arena.h"
#include "common/log.h"

struct config_listen {
	const char *host; /* an address, without brackets; NULL: not served */
	int port;
};

enum config_role {
	ROLE_ALL,
	ROLE_PUBLIC,
	ROLE_INTERNAL,
	ROLE_SWEEPER,
};

typedef const char *config_text;   /* never NULL; "" if not given */
typedef const char *config_secret; /* likewise */
typedef const char *config_url;
typedef int config_integer;
typedef bool config_flag;
typedef struct config_listen config_listen;
typedef enum log_severity config_severity;
typedef enum log_format config_format;

struct config {
#define SETTING(kind, field, ...) config_##kind field;
#include "common/settings.def"
#undef SETTING
	enum config_role role; /* --role */
	const char *file;      /* --config; NULL if none */
	struct arena strings;  /* what all of them point into */
};

/*
 * Reads everything and writes one line for every fault to `faults`, naming the setting and, for a misspelt
 * name in the file, the nearest right one.  Returns the number of faults; *config is complete only if it is
 * 0.  Its strings live until config_free(). WORKERS=0 is already replaced by the number of CPUs this process
 * may use.
 */
int config_load(struct config *, const char *file, enum config_role, FILE *faults);
void config_free(struct config *); /* wipes the secrets */
/* Takes what may be secret out of this process's environment, once it has been loaded. */
void config_forget_environment(void);

/*
 * All effective values, secrets too, as bytes; and the configuration from them, whatever environment and file
 * say by now.  False: they are no such bytes; *config is then good for config_free() only.
 */
void config_save(const struct config *, FILE *);
bool config_restore(struct config *, const char *file, enum config_role, const char *bytes,
    size_t length) __attribute__((warn_unused_result));

/* For `mitrad check`: the effective configuration as NAME=value lines, secrets and passwords as "***". */
void config_print(const struct config *, FILE *);
/* DATABASE_URL or VALKEY_URL for people: its passwords as "***"; in the arena. */
const char *config_hide_password(struct arena *, const char *url);
/* docs/settings.md, from the table. For `mitrad settings`. */
void config_print_markdown(FILE *);

#endif
