/* What config.h and docs/settings.md promise of reading. */
#include "test/unit/unit.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test/unit/loaded.h"

#define FORTY "0123456789012345678901234567890123456789"

static void check_fault(const char *line, const char *fault);
static void check_file_fault(const char *file, const char *fault);
static int count_lines(const char *);

TEST("with nothing but what is required, every default of docs/settings.md holds")
{
	struct loaded loaded = loaded_new(
	    (const char *const[]){ GOOD_DATABASE, GOOD_SECRET, NULL }, NULL);
	const struct config *config = &loaded.config;
	cpu_set_t cpus;

	sched_getaffinity(0, sizeof(cpus), &cpus);
	CHECK_TEXT(loaded.faults, "");
	CHECK_TEXT(config->database_url, "postgresql://app:pw@localhost/mitra");
	CHECK_TEXT(config->valkey_url, "redis://localhost:6379");
	CHECK_TEXT(config->auth_jwt_secret_previous, "");
	CHECK_NUMBER(config->access_token_ttl_seconds, 3600);
	CHECK_NUMBER(config->refresh_token_ttl_days, 30);
	CHECK_TEXT(config->public_listen.host, "0.0.0.0");
	CHECK_NUMBER(config->public_listen.port, 3000);
	CHECK_TEXT(config->internal_listen.host, "127.0.0.1");
	CHECK_NUMBER(config->internal_listen.port, 3001);
	CHECK_NUMBER(config->workers, CPU_COUNT(&cpus));
	CHECK_NUMBER(config->shutdown_grace_seconds, 8);
	CHECK_NUMBER(config->mitra_auto_offline_sweep_seconds, 30);
	CHECK_NUMBER(config->heartbeat_mirror_interval_seconds, 60);
	CHECK_NUMBER(config->valkey_online_mirror_sweep_seconds, 300);
	CHECK_NUMBER(config->valkey_timeout_ms, 250);
	CHECK_NUMBER(config->database_timeout_ms, 3000);
	CHECK_NUMBER(config->database_connections_per_worker, 2);
	CHECK_NUMBER(config->startup_timeout_seconds, 60);
	CHECK_TEXT(config->cc_origin, "");
	CHECK_TEXT(config->trusted_proxies, "");
	CHECK(config->log_level == SEVERITY_INFO);
	CHECK_TEXT(config->admin_email, "");
	CHECK(!config->enable_test_routes);
	CHECK(config->file == NULL);
	loaded_free(&loaded);
}

TEST("each missing required setting is one fault")
{
	struct loaded loaded = loaded_new((const char *const[]){ "DATABASE_URL=", NULL }, NULL);

	CHECK_NUMBER(loaded.count, 2);
	CHECK_NUMBER(count_lines(loaded.faults), 2);
	CHECK(strstr(loaded.faults, "DATABASE_URL: required") != NULL);
	CHECK(strstr(loaded.faults, "AUTH_JWT_SECRET: required") != NULL);
	loaded_free(&loaded);
}

static int
count_lines(const char *text)
{
	int lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

TEST("each bad value is one fault, one line that names the setting")
{
	static const char *const rows[][2] = {
		{ "WORKERS=12x", "WORKERS: \"12x\" is not a whole number" },
		{ "WORKERS=", "WORKERS: \"\" is not a whole number" },
		{ "WORKERS= 2", "not a whole number" },
		{ "WORKERS=+2", "not a whole number" },
		{ "WORKERS=2.0", "not a whole number" },
		{ "WORKERS=-", "not a whole number" },
		{ "WORKERS=-1", "WORKERS: \"-1\" is not within 0 to 256" },
		{ "WORKERS=257", "not within" },
		{ "WORKERS=99999999999999999999999", "not within" },
		{ "WORKERS=2\n3", "WORKERS: \"2?3\"" },
		{ "VALKEY_TIMEOUT_MS=0", "VALKEY_TIMEOUT_MS: \"0\" is not within 1 to 60000" },
		{ "ENABLE_TEST_ROUTES=true", "ENABLE_TEST_ROUTES: \"true\" is neither 0 nor 1" },
		{ "ENABLE_TEST_ROUTES=", "ENABLE_TEST_ROUTES: " },
		{ "LOG_LEVEL=loud",
		    "LOG_LEVEL: \"loud\" is none of: debug, info, warning, error, critical" },
		{ "LOG_FORMAT=xml", "LOG_FORMAT: \"xml\" is none of: json, text" },
		{ "PUBLIC_LISTEN=", "PUBLIC_LISTEN: " },
		{ "PUBLIC_LISTEN=3000", "PUBLIC_LISTEN: " },
		{ "PUBLIC_LISTEN=0.0.0.0", "PUBLIC_LISTEN: " },
		{ "PUBLIC_LISTEN=:3000", "PUBLIC_LISTEN: " },
		{ "PUBLIC_LISTEN=localhost:3000", "PUBLIC_LISTEN: " },
		{ "PUBLIC_LISTEN=::1:3000", "PUBLIC_LISTEN: " },
		{ "PUBLIC_LISTEN=[::1]", "PUBLIC_LISTEN: " },
		{ "PUBLIC_LISTEN=[127.0.0.1]:3000", "PUBLIC_LISTEN: " },
		{ "PUBLIC_LISTEN=[]:3000", "PUBLIC_LISTEN: " },
		{ "PUBLIC_LISTEN=256.0.0.1:3000", "PUBLIC_LISTEN: " },
		{ "PUBLIC_LISTEN=0.0.0.0:0", "PUBLIC_LISTEN: " },
		{ "PUBLIC_LISTEN=0.0.0.0:65536", "PUBLIC_LISTEN: " },
		{ "PUBLIC_LISTEN=0.0.0.0:http", "PUBLIC_LISTEN: " },
		{ "INTERNAL_LISTEN=0.0.0.0:3000", "INTERNAL_LISTEN: is the same as PUBLIC_LISTEN" },
		{ "PORT=", "PORT: " },
		{ "PORT=0", "PORT: " },
		{ "PORT=65536", "PORT: " },
		{ "PORT=80a", "PORT: " },
		{ "VALKEY_URL=", "VALKEY_URL: " },
		{ "VALKEY_URL=http://localhost", "VALKEY_URL: begins neither" },
		{ "VALKEY_URL=redis://localhost:99999", "VALKEY_URL: has a port" },
		{ "VALKEY_URL=redis://localhost/x", "VALKEY_URL: has a database" },
		{ "DATABASE_URL=nonsense", "DATABASE_URL: libpq refuses it" },
		{ "DATABASE_URL=postgresql://h/db?nonsense=1", "DATABASE_URL: libpq refuses it" },
		{ "DATABASE_URL=postgresql://h:80x/db", "DATABASE_URL: its port" },
		{ "DATABASE_URL=host=h port=0", "DATABASE_URL: its port" },
		{ "DATABASE_URL=host=a,b port=5432,65536", "DATABASE_URL: its port" },
		{ "AUTH_JWT_SECRET=0123456789abcdef0123456789abcde",
		    "AUTH_JWT_SECRET: is too short: 31 bytes" },
		{ "AUTH_JWT_SECRET_PREVIOUS=short", "AUTH_JWT_SECRET_PREVIOUS: is too short" },
		{ "TRUSTED_PROXIES=10.0.0.0/8,10.0.0.0/33", "TRUSTED_PROXIES: \"10.0.0.0/33\"" },
		{ "TRUSTED_PROXIES=proxy.internal", "TRUSTED_PROXIES: " },
		{ "CC_ORIGIN=https://cc.example.com/", "CC_ORIGIN: " },
		{ "CC_ORIGIN=cc.example.com", "CC_ORIGIN: " },
		{ "CC_ORIGIN=*", "CC_ORIGIN: " },
		{ "CC_ORIGIN=https://a.example,", "CC_ORIGIN: " },
		{ "CC_ORIGIN=https://a.example\r\nX: y", "CC_ORIGIN: " },
		{ "ADMIN_EMAIL=x", "ADMIN_EMAIL: is too short" },
		{ "ADMIN_EMAIL=admin", "ADMIN_EMAIL: is not an e-mail address" },
		{ "ADMIN_EMAIL=a b@example.com", "ADMIN_EMAIL: is not an e-mail address" },
		{ "ADMIN_PASSWORD=caf\xe9", "ADMIN_PASSWORD: is not valid UTF-8" },
		{ "ADMIN_PASSWORD=" FORTY FORTY FORTY FORTY FORTY FORTY FORTY,
		    "ADMIN_PASSWORD: has more than 256 characters" },
		{ "AUTH_JWT_SECRET_FILE=/etc/hostname",
		    "AUTH_JWT_SECRET: AUTH_JWT_SECRET_FILE is given as well" },
		{ "ADMIN_PASSWORD_FILE=/nonexistent/file",
		    "ADMIN_PASSWORD_FILE: /nonexistent/file: No such file" },
		{ "ADMIN_PASSWORD_FILE=/tmp", "ADMIN_PASSWORD_FILE: /tmp: Is a directory" },
		{ "ADMIN_PASSWORD_FILE=/dev/zero",
		    "ADMIN_PASSWORD_FILE: /dev/zero: the file is too large" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_fault(rows[i][0], rows[i][1]);
}

static void
check_fault(const char *line, const char *fault)
{
	struct loaded loaded = loaded_with(line);

	unit_about("%s: %s", line, loaded.faults);
	CHECK_NUMBER(loaded.count, 1);
	CHECK_NUMBER(count_lines(loaded.faults), 1);
	CHECK(strncmp(loaded.faults, line, strcspn(line, "=_")) == 0);
	CHECK(strstr(loaded.faults, fault) != NULL);
	loaded_free(&loaded);
}

TEST("each good value is taken as it is meant")
{
	static const char *const accepted[] = {
		"WORKERS=256",
		"LOG_LEVEL=critical",
		"LOG_FORMAT=text",
		"PUBLIC_LISTEN=[::]:80",
		"PORT=8080",
		"VALKEY_URL=rediss://app:pw@valkey:6380/3",
		"DATABASE_URL=host=/run/postgresql dbname=mitra",
		"DATABASE_URL=postgresql:///mitra?host=/run/postgresql",
		"DATABASE_URL=postgresql://a:1,b:2/mitra?target_session_attrs=read-write",
		"DATABASE_URL=host=a,b port=,5433",
		"AUTH_JWT_SECRET_PREVIOUS=",
		"TRUSTED_PROXIES=10.0.0.0/8, ::1",
		"CC_ORIGIN=https://cc.example.com,http://localhost:5173",
		"ADMIN_EMAIL=admin@example.com",
		"UNRELATED_VARIABLE=1",
	};

	for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
		struct loaded loaded = loaded_with(accepted[i]);

		unit_about("%s", accepted[i]);
		CHECK_TEXT(loaded.faults, "");
		CHECK_NUMBER(loaded.count, 0);
		loaded_free(&loaded);
	}
}

TEST("[::1]:3000 is an address without brackets and a port")
{
	struct loaded loaded = loaded_with("PUBLIC_LISTEN=[::1]:3000");

	CHECK_TEXT(loaded.config.public_listen.host, "::1");
	CHECK_NUMBER(loaded.config.public_listen.port, 3000);
	loaded_free(&loaded);
}

TEST("an empty INTERNAL_LISTEN means: not served")
{
	struct loaded loaded = loaded_with("INTERNAL_LISTEN=");

	CHECK_TEXT(loaded.faults, "");
	CHECK(loaded.config.internal_listen.host == NULL);
	loaded_free(&loaded);
}

TEST("PORT replaces the port of PUBLIC_LISTEN and nothing else")
{
	struct loaded loaded = loaded_new((const char *const[]){ GOOD_DATABASE, GOOD_SECRET,
					      "PORT=8080", "PUBLIC_LISTEN=10.1.2.3:3000", NULL },
	    NULL);

	CHECK_TEXT(loaded.config.public_listen.host, "10.1.2.3");
	CHECK_NUMBER(loaded.config.public_listen.port, 8080);
	CHECK_NUMBER(loaded.config.internal_listen.port, 3001);
	loaded_free(&loaded);
}

TEST("the environment wins over the file, and the file's last line over the ones before")
{
	struct loaded loaded = loaded_new((const char *const[]){ GOOD_SECRET, "WORKERS=3", NULL },
	    "# a comment\n\n"
	    "WORKERS=4\n"
	    "  VALKEY_TIMEOUT_MS = 100 \r\n"
	    "VALKEY_TIMEOUT_MS='200'\n"
	    "DATABASE_URL=\"host=a dbname='b c'\"\n"
	    "  # ADMIN_EMAIL=no@example.com\n"
	    "CC_ORIGIN=\n"
	    "ADMIN_PASSWORD=a=b#c \"d\"");

	CHECK_TEXT(loaded.faults, "");
	CHECK_NUMBER(loaded.config.workers, 3);
	CHECK_NUMBER(loaded.config.valkey_timeout_ms, 200);
	CHECK_TEXT(loaded.config.database_url, "host=a dbname='b c'");
	CHECK_TEXT(loaded.config.cc_origin, "");
	CHECK_TEXT(loaded.config.admin_email, "");
	CHECK_TEXT(loaded.config.admin_password, "a=b#c \"d\"");
	CHECK(loaded.config.file != NULL);
	loaded_free(&loaded);
}

TEST("an empty environment variable hides the file's optional setting, not its required one")
{
	struct loaded loaded = loaded_new(
	    (const char *const[]){
		"AUTH_JWT_SECRET=", "AUTH_JWT_SECRET_PREVIOUS=", "TRUSTED_PROXIES=", NULL },
	    GOOD_DATABASE "\n" GOOD_SECRET
			  "\nTRUSTED_PROXIES=10.0.0.0/8\nAUTH_JWT_SECRET_PREVIOUS=" FORTY "\n");

	CHECK_TEXT(loaded.faults, "");
	CHECK_TEXT(loaded.config.auth_jwt_secret, "0123456789abcdef0123456789abcdef");
	CHECK_TEXT(loaded.config.trusted_proxies, "");
	CHECK_TEXT(loaded.config.auth_jwt_secret_previous, "");
	loaded_free(&loaded);
}

TEST("a misspelt name in the file is a fault that says the nearest right one, and its line")
{
	check_file_fault("WORKRES=2", "WORKRES: no such setting; did you mean WORKERS? (");
	check_file_fault("\n#\nworkers=2", "workers: no such setting; did you mean WORKERS? (");
	check_file_fault("\n#\nworkers=2", ":3)");
	check_file_fault("DATABSE_URL=x", "did you mean DATABASE_URL?");
	check_file_fault("VALKEY_TIMEOUT=1", "did you mean VALKEY_TIMEOUT_MS?");
	check_file_fault("AUTH_JWT_SECRET_FIEL=x", "did you mean AUTH_JWT_SECRET_FILE?");
	check_file_fault("PROT=1", "did you mean PORT?");
	check_file_fault("COMPLETELY_DIFFERENT=1", "COMPLETELY_DIFFERENT: no such setting (");
	check_file_fault("WORKERS_FILE=/x", "WORKERS_FILE: no such setting (");
}

static void
check_file_fault(const char *file, const char *fault)
{
	struct loaded loaded = loaded_new(
	    (const char *const[]){ GOOD_DATABASE, GOOD_SECRET, NULL }, file);

	unit_about("%s: %s", file, loaded.faults);
	CHECK_NUMBER(loaded.count, 1);
	CHECK_NUMBER(count_lines(loaded.faults), 1);
	CHECK(strstr(loaded.faults, fault) != NULL);
	loaded_free(&loaded);
}

TEST("a line that is no NAME=value is a fault that does not show the line")
{
	static const char *const files[] = { "hunter2", "export hunter2", "hunter2 x=1", "=hunter2",
		"hunter2/x=1", "ADMIN_PASSWORD='hunter2", "ADMIN_PASSWORD=\"hunter2'",
		"hunter2-key=1", "hunter2\xff=1" };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct loaded loaded = loaded_new(
		    (const char *const[]){ GOOD_DATABASE, GOOD_SECRET, NULL }, files[i]);

		unit_about("%s: %s", files[i], loaded.faults);
		CHECK_NUMBER(loaded.count, 1);
		CHECK(strstr(loaded.faults, ":1: ") != NULL);
		CHECK(strstr(loaded.faults, "hunter2") == NULL);
		loaded_free(&loaded);
	}
}

TEST("a file that cannot be read, is huge, or has a NUL in it is one fault")
{
	static const char *const paths[] = { "/nonexistent/mitrad.conf", "/tmp", "/dev/zero" };
	char *with_nul = loaded_file("WORKERS=2\0\n", 11);

	for (size_t i = 0; i <= sizeof(paths) / sizeof(paths[0]); i++) {
		const char *path = i < sizeof(paths) / sizeof(paths[0]) ? paths[i] : with_nul;
		struct config config;
		char *faults;
		size_t length;
		FILE *out = open_memstream(&faults, &length);

		putenv((char *)GOOD_DATABASE);
		putenv((char *)GOOD_SECRET);
		unit_about("%s", path);
		CHECK_NUMBER(config_load(&config, path, ROLE_ALL, out), 1);
		fclose(out);
		CHECK(strstr(faults, path) != NULL);
		config_free(&config);
		free(faults);
	}
	unlink(with_nul);
	free(with_nul);
}

TEST("a secret may come from NAME_FILE, whose last newline is not part of it")
{
	static const char *const contents[] = { FORTY, FORTY "\n", FORTY "\r\n" };

	for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
		char *path = loaded_file(contents[i], strlen(contents[i]));
		char secret[100], database[100];
		struct loaded loaded;

		snprintf(secret, sizeof(secret), "AUTH_JWT_SECRET_FILE=%s", path);
		snprintf(database, sizeof(database), "DATABASE_URL_FILE=%s", path);
		loaded = loaded_new(
		    (const char *const[]){ GOOD_DATABASE, secret, "AUTH_JWT_SECRET=", NULL }, NULL);
		CHECK_TEXT(loaded.faults, "");
		CHECK_TEXT(loaded.config.auth_jwt_secret, FORTY);
		loaded_free(&loaded);

		loaded = loaded_new((const char *const[]){ GOOD_DATABASE, NULL }, secret);
		CHECK_TEXT(loaded.faults, "");
		CHECK_TEXT(loaded.config.auth_jwt_secret, FORTY);
		loaded_free(&loaded);
		unlink(path);
		free(path);
	}
}

TEST("blanks and inner newlines of a NAME_FILE are part of the secret; a NUL in it is a fault")
{
	static const char odd[] = " 0123456789 0123456789\n0123456789 0123456789 \n\n";
	static const char nul[] = "0123456789012345678901234567890123456789\0x";
	char *odd_path = loaded_file(odd, sizeof(odd) - 1),
	     *nul_path = loaded_file(nul, sizeof(nul) - 1);
	char line[100];
	struct loaded loaded;

	snprintf(line, sizeof(line), "AUTH_JWT_SECRET_FILE=%s", odd_path);
	loaded = loaded_new((const char *const[]){ GOOD_DATABASE, line, NULL }, NULL);
	CHECK_TEXT(
	    loaded.config.auth_jwt_secret, " 0123456789 0123456789\n0123456789 0123456789 \n");
	loaded_free(&loaded);

	snprintf(line, sizeof(line), "AUTH_JWT_SECRET_FILE=%s", nul_path);
	loaded = loaded_new((const char *const[]){ GOOD_DATABASE, line, NULL }, NULL);
	CHECK_NUMBER(loaded.count, 1);
	CHECK(strncmp(loaded.faults, "AUTH_JWT_SECRET_FILE: ", 22) == 0);
	loaded_free(&loaded);
	unlink(odd_path);
	unlink(nul_path);
	free(odd_path);
	free(nul_path);
}

TEST("an empty NAME_FILE of a required secret leaves it missing")
{
	struct loaded loaded = loaded_new(
	    (const char *const[]){ GOOD_DATABASE, "AUTH_JWT_SECRET_FILE=/dev/null", NULL }, NULL);

	CHECK_NUMBER(loaded.count, 1);
	CHECK(strncmp(loaded.faults, "AUTH_JWT_SECRET: required", 25) == 0);
	loaded_free(&loaded);
}
