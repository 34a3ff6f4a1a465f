/*
 * main: the command line.  Each command gets the configuration that it needs and gives back the exit
 * status: 0, 1 for a failure, 2 for a wrong configuration or a wrong command line.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/boot.h"
#include "common/config.h"
#include "common/log.h"
#include "common/series.h"
#include "schema/migrate.h"
#include "server/doctor/doctor.h"
#include "server/master/handover.h"
#include "server/master/instance.h"
#include "server/master/master.h"
#include "server/master/program.h"
#include "server/routes.h"
#include "server/master/title.h"
#include "server/sign_in/token.h"
#include "server/version.h"

#define EXIT_USAGE 2

struct invocation {
	char *file; /* --config */
	enum config_role role;
	char *role_name;
	const char *command;
	char **
	    arguments; /* of the command: what stands behind it, without our own options; NULL at the end */
	int argument_count;
	char **argv; /* as it came, but for the first, which is the program's absolute path */
};

typedef int command_fn(const struct invocation *, struct config *);

struct command {
	const char *name;
	const char *arguments;
	const char *meaning;
	command_fn *run;
	int least, most; /* arguments */
	bool without_config;
};

static command_fn serve, check, migrate, mirror, reseed, doctor, token, version, settings, help;

static const struct command commands[] = {
	{ "serve", "", "run the server; what is done if no command is given", serve, 0, 0, true },
	{ "check", "", "validate the configuration, print it without the secrets", check, 0, 1,
	    false },
	{ "migrate", "", "bring the schema up to date, create the first operator", migrate, 0, 0,
	    false },
	{ "mirror", "verify|diff|reseed", "is the mirror equal to the truth, where not, mend it",
	    mirror, 1, 1, false },
	{ "reseed", "", "short for mirror reseed", reseed, 0, 0, false },
	{ "doctor", "", "look for what is set up wrong, in the settings and in both servers",
	    doctor, 0, 0, false },
	{ "token", "WHO ID", "print an access token for a mitra, customer, admin or agent", token,
	    0, 8, false },
	{ "version", "", "print the version, and those of the libraries", version, 0, 0, true },
	{ "settings", "", "print what can be set, as Markdown", settings, 0, 0, true },
	{ "help", "", "print this", help, 0, 0, true },
};

static bool parse(struct invocation *, int argc, char **argv);
static bool parse_role(struct invocation *, char *name);
static char *option_value(const char *name, char **argv, int *at);
static const struct command *find_command(const struct invocation *);
static int run(const struct command *, const struct invocation *);
static void print_usage(FILE *);

int
main(int argc, char **argv)
{
	char all[] = "all";
	struct invocation invocation = { .role = ROLE_ALL, .role_name = all, .command = "serve" };
	const struct command *command;
	int status = EXIT_USAGE;

	invocation.arguments = calloc((size_t)argc + 1, sizeof(*invocation.arguments));
	invocation.argv = program_copy_arguments(argc, argv);
	if (!invocation.arguments)
		fatal("out of memory");
	title_init(argc, argv);
	series_names = routes_names;
	command = parse(&invocation, argc, invocation.argv) ? find_command(&invocation) : NULL;
	if (command)
		status = run(command, &invocation);
	else
		print_usage(stderr);
	free(invocation.arguments);
	program_free_arguments(invocation.argv);
	return status;
}

static bool
parse(struct invocation *invocation, int argc, char **argv)
{
	bool has_command = false;
	char *value;

	for (int i = 1; i < argc; i++) {
		if ((value = option_value("--config", argv, &i))) {
			invocation->file = value;
		} else if ((value = option_value("--role", argv, &i))) {
			if (!parse_role(invocation, value))
				return false;
		} else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			invocation->command = "help";
			has_command = true;
		} else if (strcmp(argv[i], "--version") == 0) {
			invocation->command = "version";
			has_command = true;
		} else if (strcmp(argv[i], "--config") == 0 || strcmp(argv[i], "--role") == 0) {
			fprintf(stderr, "mitrad: %s: its value is missing\n", argv[i]);
			return false;
		} else if (argv[i][0] == '-' && !has_command) {
			fprintf(stderr, "mitrad: %s: no such option\n", argv[i]);
			return false;
		} else if (!has_command) {
			invocation->command = argv[i];
			has_command = true;
		} else {
			invocation->arguments[invocation->argument_count++] = argv[i];
		}
	}
	return true;
}

/*
 * Of "--name value" or "--name=value" at argv[*at], which then points at its last part; NULL if it is
 * something else.
 */
static char *
option_value(const char *name, char **argv, int *at)
{
	size_t length = strlen(name);

	if (strncmp(argv[*at], name, length) != 0)
		return NULL;
	if (argv[*at][length] == '=')
		return argv[*at] + length + 1;
	if (argv[*at][length] != '\0' || !argv[*at + 1])
		return NULL;
	return argv[++*at];
}

static bool
parse_role(struct invocation *invocation, char *name)
{
	static const char *const names[] = {
		[ROLE_ALL] = "all",
		[ROLE_PUBLIC] = "public",
		[ROLE_INTERNAL] = "internal",
		[ROLE_SWEEPER] = "sweeper",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0) {
			invocation->role = (enum config_role)i;
			invocation->role_name = name;
			return true;
		}
	fprintf(stderr, "mitrad: --role %s: no such role\n", name);
	return false;
}

/* NULL: it cannot be run like this, and why has been said. */
static const struct command *
find_command(const struct invocation *invocation)
{
	const struct command *command = commands;
	const struct command *end = commands + sizeof(commands) / sizeof(commands[0]);

	while (command < end && strcmp(invocation->command, command->name) != 0)
		command++;
	if (command == end)
		fprintf(stderr, "mitrad: %s: no such command\n", invocation->command);
	else if (invocation->argument_count < command->least)
		fprintf(stderr, "mitrad: %s: needs %s\n", command->name, command->arguments);
	else if (invocation->argument_count > command->most)
		fprintf(stderr, "mitrad: %s: too many arguments\n", command->name);
	else
		return command;
	return NULL;
}

static int
run(const struct command *command, const struct invocation *invocation)
{
	struct config config = { 0 };
	int status;

	if (!command->without_config) {
		log_to_stderr();
		if (config_load(&config, invocation->file, invocation->role, stderr) > 0) {
			config_free(&config);
			return 2;
		}
		log_init(config.log_level, config.log_format);
	}
	status = command->run(invocation, &config);
	config_free(&config);
	log_flush();
	return status;
}

static int
serve(const struct invocation *invocation, struct config *config)
{
	struct instance instance = {
		.argv = invocation->argv,
		.file = invocation->file,
		.role = invocation->role,
		.role_name = invocation->role_name,
	};

	return master_run(&instance);
}

/* `mitrad check handover` is what a master asks before it executes this program in its place. */
static int
check(const struct invocation *invocation, struct config *config)
{
	if (invocation->argument_count == 0) {
		config_print(config, stdout);
		return 0;
	}
	if (strcmp(invocation->arguments[0], "handover") != 0) {
		fprintf(stderr, "mitrad: check: too many arguments\n");
		return EXIT_USAGE;
	}
	printf("handover %d\n", HANDOVER_VERSION);
	return 0;
}

static int
migrate(const struct invocation *invocation, struct config *config)
{
	return migrate_command(config);
}

static int
mirror(const struct invocation *invocation, struct config *config)
{
	const char *verb = invocation->arguments[0];

	if (strcmp(verb, "verify") == 0 || strcmp(verb, "diff") == 0 || strcmp(verb, "reseed") == 0)
		return mirror_command(config, verb);
	fprintf(stderr, "mitrad: mirror %s: no such command\n", verb);
	return EXIT_USAGE;
}

static int
reseed(const struct invocation *invocation, struct config *config)
{
	return mirror_command(config, "reseed");
}

static int
doctor(const struct invocation *invocation, struct config *config)
{
	return doctor_command(config);
}

static int
token(const struct invocation *invocation, struct config *config)
{
	return token_command(config, invocation->argument_count, invocation->arguments);
}

static int
version(const struct invocation *invocation, struct config *config)
{
	version_print(stdout);
	return 0;
}

static int
settings(const struct invocation *invocation, struct config *config)
{
	config_print_markdown(stdout);
	return 0;
}

static int
help(const struct invocation *invocation, struct config *config)
{
	print_usage(stdout);
	return 0;
}

static void
print_usage(FILE *out)
{
	fputs("usage: mitrad [--config FILE] [--role all|public|internal|sweeper] [command]\n\n",
	    out);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(out, "  %-9s%-20s%s\n", commands[i].name, commands[i].arguments,
		    commands[i].meaning);
	fputs("\nThe configuration comes from the environment and, where that is silent, from "
	      "NAME=value lines in FILE.\n"
	      "Signals to the server: HUP reloads configuration and program, TERM and INT stop it "
	      "gracefully, QUIT at\n"
	      "once, USR1 logs a status line per child.\n",
	    out);
}
