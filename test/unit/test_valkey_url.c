/* What valkey_url.h promises. */
#include "test/unit/unit.h"

#include <string.h>

#include "common/valkey_url.h"

TEST("each part of a URL arrives, with its default where it is missing")
{
	static const struct {
		const char *text;
		struct valkey_url url;
	} rows[] = {
		{ "redis://localhost", { false, "", "", "localhost", 6379, 0 } },
		{ "redis://localhost:6380", { false, "", "", "localhost", 6380, 0 } },
		{ "redis://localhost/", { false, "", "", "localhost", 6379, 0 } },
		{ "rediss://10.0.0.3:6378/15", { true, "", "", "10.0.0.3", 6378, 15 } },
		{ "redis://app:secret@db.internal:6379/0",
		    { false, "app", "secret", "db.internal", 6379, 0 } },
		{ "redis://:secret@h", { false, "", "secret", "h", 6379, 0 } },
		{ "redis://app:@h", { false, "app", "", "h", 6379, 0 } },
		{ "redis://[::1]:6379/2", { false, "", "", "::1", 6379, 2 } },
		{ "redis://[fe80::1%25lo]", { false, "", "", "fe80::1%25lo", 6379, 0 } },
		{ "redis://a%40b:p%3Aq%2F@h", { false, "a@b", "p:q/", "h", 6379, 0 } },
		{ "redis://a:p@q:r/s@h:1", { false, "a", "p@q:r/s", "h", 1, 0 } },
	};
	struct arena arena = { 0 };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct valkey_url url;

		unit_about("%s", rows[i].text);
		if (!CHECK(valkey_url_parse(&arena, rows[i].text, &url) == NULL))
			continue;
		CHECK(url.tls == rows[i].url.tls);
		CHECK_TEXT(url.user, rows[i].url.user);
		CHECK_TEXT(url.password, rows[i].url.password);
		CHECK_TEXT(url.host, rows[i].url.host);
		CHECK_NUMBER(url.port, rows[i].url.port);
		CHECK_NUMBER(url.database, rows[i].url.database);
	}
	arena_free(&arena);
}

TEST("what is no such URL is refused, and the reason does not quote it")
{
	static const char *const refused[] = { "", "redis", "redis:/h", "redis://", "rediss://",
		"http://hunter2", "REDIS://h", "valkey://h", "redis://:6379",
		"redis://h:", "redis://h:0", "redis://h:65536", "redis://h:99999999999",
		"redis://h:+1", "redis://h:1x", "redis://h/x", "redis://h/-1", "redis://h/65536",
		"redis://h/1/2", "redis://hunter2@h", "redis://u:hunter2%@h",
		"redis://u:hunter2%zz@h", "redis://u:hunter2%00@h", "redis://[::1",
		"redis://[::1]x", "redis://[]", "redis://h h", "redis://::1",
		"redis://h?x=hunter2" };
	struct arena arena = { 0 };

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct valkey_url url;
		const char *reason = valkey_url_parse(&arena, refused[i], &url);

		unit_about("%s", refused[i]);
		if (CHECK(reason != NULL))
			CHECK(strstr(reason, "hunter2") == NULL);
	}
	arena_free(&arena);
}
