/* What config.h promises of showing: everything but the secrets. */
#include "test/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "test/unit/loaded.h"

static char *printed(const struct config *);

TEST("the effective configuration is shown as NAME=value lines, secrets as ***")
{
	struct loaded loaded = loaded_new(
	    (const char *const[]){
		"DATABASE_URL=postgresql://app:hunter2@db:5432/mitra?sslmode=require",
		"VALKEY_URL=rediss://app:hunter2@valkey:6380/3",
		"AUTH_JWT_SECRET=hunter2hunter2hunter2hunter2hunter2", "ADMIN_PASSWORD=hunter2",
		"PUBLIC_LISTEN=[::1]:80", "INTERNAL_LISTEN=", "WORKERS=3", "LOG_FORMAT=text",
		"ENABLE_TEST_ROUTES=1", NULL },
	    NULL);
	char *text = printed(&loaded.config);
	static const char *const lines[] = {
		"DATABASE_URL=postgresql://app:***@db:5432/mitra?sslmode=require\n",
		"VALKEY_URL=rediss://app:***@valkey:6380/3\n",
		"AUTH_JWT_SECRET=***\n",
		"AUTH_JWT_SECRET_PREVIOUS=\n",
		"ADMIN_PASSWORD=***\n",
		"PUBLIC_LISTEN=[::1]:80\n",
		"INTERNAL_LISTEN=\n",
		"WORKERS=3\n",
		"LOG_LEVEL=info\n",
		"LOG_FORMAT=text\n",
		"ENABLE_TEST_ROUTES=1\n",
	};

	CHECK_TEXT(loaded.faults, "");
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		unit_about("%s in %s", lines[i], text);
		CHECK(strstr(text, lines[i]) != NULL);
	}
	CHECK(strstr(text, "hunter2") == NULL);
	free(text);
	loaded_free(&loaded);
}

static char *
printed(const struct config *config)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	config_print(config, out);
	fclose(out);
	return text;
}

TEST("what is shown, without its secrets, is read back as the same configuration")
{
	struct loaded loaded = loaded_with("VALKEY_TIMEOUT_MS=17"), again;
	char *text = printed(&loaded.config), *text_again;

	/* In the file the secrets are *** (too short); the environment, which wins, has them. */
	again = loaded_new((const char *const[]){ GOOD_DATABASE, GOOD_SECRET, NULL }, text);
	CHECK_TEXT(again.faults, "");
	text_again = printed(&again.config);
	CHECK_TEXT(text_again, text);
	free(text);
	free(text_again);
	loaded_free(&loaded);
	loaded_free(&again);
}

TEST("the password of a URL is hidden in every form that it may be written in, and nothing else")
{
	static const char *const rows[][2] = {
		{ "postgresql://app:hunter2@db/mitra", "postgresql://app:***@db/mitra" },
		{ "postgres://app:hunter2@db:5432/mitra?sslmode=require",
		    "postgres://app:***@db:5432/mitra?sslmode=require" },
		{ "postgresql://app@db/mitra", "postgresql://app@db/mitra" },
		{ "postgresql://db:5432/mitra", "postgresql://db:5432/mitra" },
		{ "postgresql:///mitra?host=/run/postgresql",
		    "postgresql:///mitra?host=/run/postgresql" },
		{ "postgresql://app:hunter2@a:1,b:2/mitra", "postgresql://app:***@a:1,b:2/mitra" },
		{ "postgresql://app:hunter2%40@%2Frun%2Fpg/mitra",
		    "postgresql://app:***@%2Frun%2Fpg/mitra" },
		{ "postgresql://db/mitra?password=hunter2", "password=*** dbname=mitra host=db" },
		{ "postgresql://db/mitra?%70assword=hunter2", "password=*** dbname=mitra host=db" },
		{ "postgresql://db/mitra?sslpassword=hunter2",
		    "dbname=mitra host=db sslpassword=***" },
		{ "postgresql://app:p%23@db/mitra?application_name=a@b&password=hunter2", NULL },
		{ "postgresql://app:hunter2?@db/mitra", NULL },
		{ "postgresql://app:hunter2:hunter2@db/mitra", "postgresql://app:***@db/mitra" },
		{ "host=db password=hunter2 user=app", "user=app password=*** host=db" },
		{ "host=db password = 'hunter2 \\' hunter2' user='a b'",
		    "user='a b' password=*** host=db" },
		{ "host=db password=hunter2\\ hunter2", "password=*** host=db" },
		{ "host=db options='-c x=\\'y\\''", "host=db options='-c x=\\'y\\''" },
		{ "postgresql://hunter2:bad:@:@", NULL },
		{ "hunter2", "***" },
		{ "redis://localhost:6379", "redis://localhost:6379" },
		{ "redis://:hunter2@h", "redis://:***@h" },
		{ "rediss://app:hunter2@[::1]:6379/2", "rediss://app:***@[::1]:6379/2" },
		{ "redis://app:hunter2@hunter2:hunter2/hunter2@h", "redis://app:***@h" },
	};
	struct arena arena = { 0 };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *shown = config_hide_password(&arena, rows[i][0]);

		unit_about("%s", rows[i][0]);
		if (rows[i][1])
			CHECK_TEXT(shown, rows[i][1]);
		if (strncmp(rows[i][0], "postgresql://hunter2", 20) != 0)
			CHECK(strstr(shown, "hunter2") == NULL);
	}
	arena_free(&arena);
}

TEST("no fault shows a secret or a part of one")
{
	static const char *const lines[] = {
		"DATABASE_URL=hunter2",
		"DATABASE_URL=host=h password=x hunter2",
		"DATABASE_URL=host=h password='hunter2",
		"DATABASE_URL=host=h hunter2=x",
		"DATABASE_URL=postgresql://u:hunter2%zz@h/db",
		"DATABASE_URL=postgresql://u:hunter2\"hunter2%zz@h/db",
		"DATABASE_URL=postgresql://u:hun/ter2hunter2@h:x/db",
		"DATABASE_URL=postgresql://u:p@[h/hunter2",
		"DATABASE_URL=postgresql://u:p@h/db?hunter2=1",
		"DATABASE_URL=postgresql://u:p@h/db?a=b=hunter2",
		"DATABASE_URL=postgresql://u:hunter2@h:99999/db",
		"VALKEY_URL=hunter2",
		"VALKEY_URL=redis://hunter2@h",
		"VALKEY_URL=redis://u:hunter2@h:x",
		"AUTH_JWT_SECRET=hunter2",
		"AUTH_JWT_SECRET_PREVIOUS=hunter2",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct loaded loaded = loaded_with(lines[i]);

		unit_about("%s: %s", lines[i], loaded.faults);
		CHECK_NUMBER(loaded.count, 1);
		CHECK(strstr(loaded.faults, "hunter2") == NULL);
		loaded_free(&loaded);
	}
}

TEST("config_free() leaves no secret behind in memory")
{
	struct loaded loaded = loaded_with("ADMIN_PASSWORD=hunter2");
	char *secret = (char *)loaded.config.admin_password;
	struct arena strings = loaded.config.strings;

	/* As config_free() does it, but for giving the memory back, so that one may look at it. */
	loaded.config.strings = (struct arena){ 0 };
	config_free(&loaded.config);
	CHECK(memcmp(secret, "\0\0\0\0\0\0\0", 7) == 0);
	arena_free(&strings);
	loaded_free(&loaded);
}

TEST("docs/settings.md has a row for every setting")
{
	char *text;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	config_print_markdown(out);
	fclose(out);
#define SETTING(kind, field, name, ...) CHECK(strstr(text, "| `" #name "` |") != NULL);
#include "common/settings.def"
#undef SETTING
	CHECK(strstr(text, "| `DATABASE_URL` | required | URL, `_FILE` |") != NULL);
	CHECK(strstr(text, "| `VALKEY_TIMEOUT_MS` | `250` | number, 1 to 60000 |") != NULL);
	free(text);
}
