/*
 * config: settings.def, filled from the environment and the file.
 *
 * Each row is looked up, parsed by its kind and checked by what is known of it in particular; then what
 * concerns several settings is looked at.  Every step goes on after a fault, so that an operator sees all of
 * them at once.
 */
#include "common/config.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/config_check.h"
#include "common/config_source.h"
#include "common/settings.h"

static void load_setting(struct config *, struct config_source *, const struct setting *);
static const char *default_of(const struct setting *);
static void load_port(struct config *, struct config_source *);
static void check_listeners(const struct config *, struct config_faults *);
static int usable_cpus(void);

int
config_load(struct config *config, const char *file, enum config_role role, FILE *out)
{
	struct config_faults faults = { .out = out };
	struct config_source source;
	size_t i;

	*config = (struct config){ .role = role };
	if (file)
		config->file = arena_strdup(&config->strings, file);

	config_source_open(&source, &config->strings, file, &faults);
	for (i = 0; i < settings_count; i++)
		load_setting(config, &source, &settings[i]);
	load_port(config, &source);
	config_source_close(&source);

	check_listeners(config, &faults);
	if (faults.count == 0)
		config_check_together(config, &faults);
	if (config->workers == 0)
		config->workers = usable_cpus();
	return faults.count;
}

static void
load_setting(struct config *config, struct config_source *source, const struct setting *setting)
{
	void *field = settings_field(setting, config);
	struct config_given given = config_source_find(source, setting);
	const char *value = given.value ? given.value : default_of(setting);
	const char *reason;

	if (given.faulty)
		return;
	if (!value) {
		config_fault(source->faults, "%s: required, but not given: %s", setting->name,
		    setting->meaning);
		return;
	}
	if (!given.value) /* config_free() wipes its strings, so none may be a literal */
		value = arena_strdup(&config->strings, value);
	reason = setting->kind->parse(&config->strings, setting, value, field);
	if (!reason)
		reason = config_check(&config->strings, setting->name, value);
	if (reason)
		config_fault(source->faults, "%s: %s (%s)", setting->name, reason, given.origin);
}

static const char *
default_of(const struct setting *setting)
{
	if (strcmp(setting->name, "LOG_FORMAT") == 0 && isatty(STDOUT_FILENO))
		return "text";
	return setting->fallback;
}

static void
load_port(struct config *config, struct config_source *source)
{
	struct config_given given = config_source_find_plain(source, "PORT");
	const char *reason;

	if (!given.value)
		return;
	reason = setting_parse_integer(
	    &config->strings, given.value, 1, 65535, &config->public_listen.port);
	if (reason)
		config_fault(source->faults, "PORT: %s (%s)", reason, given.origin);
	/* Who gives us a PORT reaches us, or at least probes us, there and from outside: then it is our only listener. */
	if (config->role == ROLE_INTERNAL || config->role == ROLE_SWEEPER)
		config->internal_listen = config->public_listen;
}

/* Whether the addresses can be bound shows when they are; that both are the same is seen here already. */
static void
check_listeners(const struct config *config, struct config_faults *faults)
{
	const struct config_listen *public = &config->public_listen;
	const struct config_listen *internal = &config->internal_listen;

	if (config->role == ROLE_INTERNAL && faults->count == 0 && !internal->host)
		config_fault(
		    faults, "INTERNAL_LISTEN: is empty, and --role internal serves nothing else");
	if (config->role == ROLE_ALL && public->host && internal->host &&
	    public->port == internal->port && strcmp(public->host, internal->host) == 0)
		config_fault(faults, "INTERNAL_LISTEN: is the same as PUBLIC_LISTEN");
}

/* At most what WORKERS may be. */
static int
usable_cpus(void)
{
	cpu_set_t cpus;
	int count;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0)
		return 1;
	count = CPU_COUNT(&cpus);
	return count < 256 ? count : 256;
}

void
config_free(struct config *config)
{
	size_t i;

	for (i = 0; i < settings_count; i++) {
		char **secret = settings_field(&settings[i], config);

		if (settings[i].kind->secret && *secret)
			explicit_bzero(*secret, strlen(*secret));
	}
	arena_free(&config->strings);
	*config = (struct config){ 0 };
}

void
config_forget_environment(void)
{
	size_t i;

	for (i = 0; i < settings_count; i++) {
		char *value = settings[i].kind->secret ? getenv(settings[i].name) : NULL;

		if (!value)
			continue;
		explicit_bzero(value, strlen(value));
		unsetenv(settings[i].name);
	}
}
