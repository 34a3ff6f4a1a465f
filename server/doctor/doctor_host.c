/*
 * doctor_host: what can be judged without asking a server: the settings, this process's limits, the library on this machine.
 */
#include "server/doctor/doctor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <event2/event.h>

#include "common/config.h"

#define SECRET_LEAST_BITS     96
#define SECRET_LEAST_DISTINCT 8

#define DESCRIPTORS_LEAST   1024 /* below it a busy evening refuses apps */
#define DESCRIPTORS_COMFORT 16384

/* The first Debian revision of libevent 2.1.12-stable with the fixes of its HTTP server: 8+deb12u1. */
#define LIBEVENT_LEAST       0x02010c00
#define LIBEVENT_REVISION    8
#define LIBEVENT_UPDATE      1
#define LIBEVENT_UPSTREAM    "2.1.12-stable-"
#define LIBEVENT_PACKAGE     "Package: libevent-core-2.1-7" /* Debian 13: …-7t64 */
#define DPKG_STATUS          "/var/lib/dpkg/status"
#define LIBEVENT_REQUIREMENT "2.1.12-stable-8+deb12u1"

static void check_secret(struct doctor *, const char *name, const char *secret);
static const char *example_word(const char *secret);
static double entropy_bits(const char *secret, int *distinct);
static bool is_a_sequence(const char *secret);
static void check_file(struct doctor *);
static void check_listeners(struct doctor *);
static bool is_any(const char *host);
static void check_descriptors(struct doctor *);
static void check_libevent(struct doctor *);
static bool libevent_package(char *version, size_t size);
static bool libevent_is_fixed(const char *version);

void
doctor_settings(struct doctor *doctor)
{
	const struct config *config = doctor->config;

	check_file(doctor);
	check_secret(doctor, "AUTH_JWT_SECRET", config->auth_jwt_secret);
	if (*config->auth_jwt_secret_previous != '\0')
		check_secret(doctor, "AUTH_JWT_SECRET_PREVIOUS", config->auth_jwt_secret_previous);
	if (strcmp(config->auth_jwt_secret, config->auth_jwt_secret_previous) == 0)
		doctor_warn(doctor, "AUTH_JWT_SECRET_PREVIOUS",
		    "is the same as AUTH_JWT_SECRET. A rotation puts a new secret there.");
	check_listeners(doctor);
}

void
doctor_host(struct doctor *doctor)
{
	check_descriptors(doctor);
	check_libevent(doctor);
}

/* ---------------------------------------------------------------- secrets */

/* Whoever guesses the secret is everybody. */
static void
check_secret(struct doctor *doctor, const char *name, const char *secret)
{
	static const char advice[] =
	    "Anyone could make tokens. Use a random one: openssl rand -hex 32";
	const char *word = example_word(secret);
	int distinct;
	double bits = entropy_bits(secret, &distinct);

	if (word)
		doctor_fail(doctor, name, "holds \"%s\", as examples do. %s", word, advice);
	else if (distinct < SECRET_LEAST_DISTINCT || is_a_sequence(secret))
		doctor_fail(doctor, name, "follows a pattern. %s", advice);
	else if (bits < SECRET_LEAST_BITS)
		doctor_warn(doctor, name, "is worth about %.0f bits. %s", bits, advice);
	else
		doctor_ok(doctor, name, "looks random");
}

/* A random secret of 64 letters holds one of these once in ten million times. */
static const char *
example_word(const char *secret)
{
	static const char *const words[] = { "secret", "example", "change-me", "change_me",
		"changeme", "change this", "placeholder", "password", "your-", "your_", "replace",
		"mitrad", "default" };

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strcasestr(secret, words[i]))
			return words[i];
	return NULL;
}

/* By the frequencies of its bytes: an upper limit, which short or repetitive secrets do not reach. */
static double
entropy_bits(const char *secret, int *distinct)
{
	size_t counts[256] = { 0 };
	double length = (double)strlen(secret), bits = 0;

	*distinct = 0;
	for (const char *c = secret; *c != '\0'; c++)
		counts[(unsigned char)*c]++;
	for (int i = 0; i < 256; i++)
		if (counts[i] > 0) {
			(*distinct)++;
			bits -= (double)counts[i] * log2((double)counts[i] / length);
		}
	return bits;
}

/* "abcdef…", "0123…", "aaaa…", or the same piece again and again. */
static bool
is_a_sequence(const char *secret)
{
	size_t length = strlen(secret), steps = 0;

	for (size_t i = 2; i < length; i++)
		steps += secret[i] - secret[i - 1] == secret[i - 1] - secret[i - 2];
	if (steps * 2 > length)
		return true;
	for (size_t period = 1; period <= length / 2; period++)
		if (memcmp(secret, secret + period, length - period) == 0)
			return true;
	return false;
}

/* ---------------------------------------------------------------- settings */

static void
check_file(struct doctor *doctor)
{
	struct stat file;

	if (!doctor->config->file || stat(doctor->config->file, &file) != 0)
		return;
	if (file.st_mode & S_IROTH)
		doctor_warn(doctor, "--config",
		    "%s can be read by everybody on this machine. If secrets are in it: chmod o-r",
		    doctor->config->file);
	else
		doctor_ok(doctor, "--config", "%s is closed to strangers", doctor->config->file);
}

static void
check_listeners(struct doctor *doctor)
{
	const struct config *config = doctor->config;
	const char *internal = config->role == ROLE_PUBLIC ? NULL : config->internal_listen.host;

	if (internal && is_any(internal))
		doctor_warn(doctor, "INTERNAL_LISTEN",
		    "operators and metrics are served on every address of this machine. Name one "
		    "that only they reach, or make sure that a firewall or the platform does.");
	else if (internal)
		doctor_ok(doctor, "INTERNAL_LISTEN", "%s", internal);
	if (config->enable_test_routes && internal && !doctor_is_local(internal))
		doctor_warn(doctor, "ENABLE_TEST_ROUTES",
		    "whoever reaches %s may create mitras. Never in production.", internal);
}

static bool
is_any(const char *host)
{
	return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

/* ---------------------------------------------------------------- limits */

/* The hard limit: the master raises the soft one to it. */
static void
check_descriptors(struct doctor *doctor)
{
	static const char advice[] =
	    "Each client is one in its worker: raise it (systemd: "
	    "LimitNOFILE=, containers: --ulimit nofile=, shells: ulimit -n).";
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	if (limit.rlim_max < DESCRIPTORS_LEAST)
		doctor_fail(doctor, "descriptors", "at most %llu for a process. %s",
		    (unsigned long long)limit.rlim_max, advice);
	else if (limit.rlim_max < DESCRIPTORS_COMFORT)
		doctor_warn(doctor, "descriptors", "at most %llu for a process. %s",
		    (unsigned long long)limit.rlim_max, advice);
	else
		doctor_ok(doctor, "descriptors", "%llu for each process",
		    (unsigned long long)limit.rlim_max);
}

/* ---------------------------------------------------------------- libevent */

/* The fixes came without a new version number, so only the package tells. */
static void
check_libevent(struct doctor *doctor)
{
	char package[128];

	if (event_get_version_number() < LIBEVENT_LEAST)
		doctor_fail(doctor, "libevent", "%s is too old. Install %s or newer.",
		    event_get_version(), LIBEVENT_REQUIREMENT);
	else if (!libevent_package(package, sizeof(package)))
		doctor_warn(doctor, "libevent",
		    "%s, and no package says whether its HTTP server has the security fixes of "
		    "Debian's %s.",
		    event_get_version(), LIBEVENT_REQUIREMENT);
	else if (!libevent_is_fixed(package))
		doctor_fail(doctor, "libevent",
		    "package %s lacks the security fixes of %s. Upgrade libevent-core-2.1-7.",
		    package, LIBEVENT_REQUIREMENT);
	else
		doctor_ok(doctor, "libevent", "%s, package %s", event_get_version(), package);
}

/* The version of the installed package, from dpkg's own records; false if there is none. */
static bool
libevent_package(char *version, size_t size)
{
	FILE *status = fopen(DPKG_STATUS, "re");
	bool ours = false, installed = false, found = false;
	char *line = NULL;
	size_t capacity = 0;

	if (!status)
		return false;
	while (!found && getline(&line, &capacity, status) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "Package: ", 9) == 0) {
			ours = strncmp(line, LIBEVENT_PACKAGE, strlen(LIBEVENT_PACKAGE)) == 0;
			installed = false;
		} else if (ours && strncmp(line, "Status: ", 8) == 0) {
			installed = strstr(line, " ok installed") != NULL;
		} else if (ours && installed && strncmp(line, "Version: ", 9) == 0) {
			found = snprintf(version, size, "%s", line + 9) < (int)size;
		}
	}
	free(line);
	fclose(status);
	return found;
}

/* Versions of later upstream releases, which Debian does not have yet, have the fixes. */
static bool
libevent_is_fixed(const char *version)
{
	int revision = 0, update = 0;

	if (strncmp(version, LIBEVENT_UPSTREAM, strlen(LIBEVENT_UPSTREAM)) != 0)
		return true;
	sscanf(version + strlen(LIBEVENT_UPSTREAM), "%d+deb12u%d", &revision, &update);
	return revision > LIBEVENT_REVISION ||
	       (revision == LIBEVENT_REVISION && update >= LIBEVENT_UPDATE);
}
