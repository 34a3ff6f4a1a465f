/* What cidr.h promises. */
#include "test/unit/unit.h"

#include <string.h>

#include "common/cidr.h"

TEST("a network contains its addresses and no others")
{
	static const struct {
		const char *network, *address;
		bool inside;
	} rows[] = {
		{ "10.0.0.0/8", "10.255.255.255", true },
		{ "10.0.0.0/8", "11.0.0.0", false },
		{ "10.0.0.0/8", "9.255.255.255", false },
		{ "10.1.2.3/8", "10.9.9.9", true },
		{ "192.168.4.0/22", "192.168.7.255", true },
		{ "192.168.4.0/22", "192.168.8.0", false },
		{ "0.0.0.0/0", "255.1.2.3", true },
		{ "0.0.0.0/0", "::1", false },
		{ "127.0.0.1", "127.0.0.1", true },
		{ "127.0.0.1", "127.0.0.2", false },
		{ "127.0.0.1/32", "::ffff:127.0.0.1", true },
		{ "::ffff:10.0.0.0/104", "10.1.1.1", true },
		{ "2001:db8::/33", "2001:db8:7fff::1", true },
		{ "2001:db8::/33", "2001:db8:8000::1", false },
		{ "::/0", "2001:db8::1", true },
		{ "::1", "::1", true },
		{ "::1", "::2", false },
		{ "10.0.0.0/8", "10.0.0", false },
		{ "10.0.0.0/8", "unix:", false },
		{ "10.0.0.0/8", "", false },
	};
	struct arena arena = { 0 };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cidr cidr;

		unit_about("%s in %s", rows[i].address, rows[i].network);
		if (CHECK(cidr_parse(&arena, rows[i].network, &cidr) == NULL))
			CHECK(cidr_contains(&cidr, rows[i].address) == rows[i].inside);
	}
	arena_free(&arena);
}

TEST("what is no network is refused with a reason")
{
	static const char *const refused[] = { "", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129",
		"10.0.0.0/8x", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/ 8", "10.0.0/8",
		"10.0.0.0.0/8", "localhost", "010.0.0.0/8", "10.0.0.0/0008", "[::1]/128",
		"::1%lo/128", "10.0.0.0/8/8" };
	struct arena arena = { 0 };

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct cidr cidr;

		unit_about("\"%s\"", refused[i]);
		CHECK(cidr_parse(&arena, refused[i], &cidr) != NULL);
	}
	arena_free(&arena);
}

TEST("a list takes blanks around its commas, and an empty one contains nothing")
{
	struct arena arena = { 0 };
	struct cidr *list;
	size_t count;

	CHECK(cidr_parse_list(&arena, "10.0.0.0/8, 192.168.0.0/16 ,::1", &list, &count) == NULL);
	CHECK_NUMBER((int64_t)count, 3);
	CHECK(cidr_list_contains(list, count, "192.168.3.4"));
	CHECK(cidr_list_contains(list, count, "::1"));
	CHECK(!cidr_list_contains(list, count, "172.16.0.1"));

	CHECK(cidr_parse_list(&arena, "", &list, &count) == NULL);
	CHECK(!cidr_list_contains(list, count, "127.0.0.1"));
	arena_free(&arena);
}

TEST("a list with one bad or empty entry is refused as a whole")
{
	static const char *const refused[] = { "10.0.0.0/8,", ",", "10.0.0.0/8,,::1",
		"10.0.0.0/8 ::1", " ", "10.0.0.0/8,x" };
	struct arena arena = { 0 };

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct cidr *list;
		size_t count;

		unit_about("\"%s\"", refused[i]);
		CHECK(cidr_parse_list(&arena, refused[i], &list, &count) != NULL);
	}
	arena_free(&arena);
}
