/*
 * orphans: members of the mirror's sets, and keys, of mitras whom the truth does not know (any more).
 *
 * A reseed pages through the truth, so it cannot meet them; they are found from Valkey's side.  What looks
 * like an orphan may have been created since the pages were read.  So before it is removed the truth is
 * asked again, and it is removed only if mitra:version:<id> is still what it was before that: a mitra who
 * was created and went online meanwhile has another.
 */
#include <string.h>

#include "common/log.h"
#include "common/mirror.h"
#include "common/pg.h"
#include "common/valkey.h"
#include "sweeper/sweeper.h"

#define REMOVE_MAX 500 /* in one script */

static const char *const prefixes[] = { "mitra:heartbeat:", "mitra:capacity:", "mitra:version:" };

static bool
scan_sets(struct sweeper *s, const struct known *known, const char *set, orphans_fn *found,
    void *argument)
{
	struct sweeper_scan scan = { .set = set, .count = "1000" };
	bool good = true;

	while (good && !scan.done) {
		struct arena arena = { 0 };
		size_t unknown = 0;

		good = sweeper_goes_on(s) && sweeper_scan(s, &arena, &scan);
		for (size_t i = 0; good && i < scan.count_found; i++)
			if (!known_has(known, scan.found[i]))
				scan.found[unknown++] = scan.found[i];
		if (good && unknown)
			good = found(s, &arena, scan.found, unknown, argument);
		arena_free(&arena);
	}
	return good;
}

bool
orphans_in_sets(struct sweeper *s, const struct known *known, orphans_fn *found, void *argument)
{
	return scan_sets(s, known, "mitras:online", found, argument) &&
	       scan_sets(s, known, "mitras:deactivated", found, argument);
}

/* The id in one of our keys; NULL if it is another's. */
static const char *
id_in_key(const char *key)
{
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++)
		if (strncmp(key, prefixes[i], strlen(prefixes[i])) == 0)
			return key + strlen(prefixes[i]);
	return NULL;
}

bool
orphans_in_keys(struct sweeper *s, const struct known *known, orphans_fn *found, void *argument)
{
	struct sweeper_scan scan = { .pattern = "mitra:*", .count = "1000" };
	bool good = true;

	while (good && !scan.done) {
		struct arena arena = { 0 };
		size_t unknown = 0;

		good = sweeper_goes_on(s) && sweeper_scan(s, &arena, &scan);
		for (size_t i = 0; good && i < scan.count_found; i++) {
			const char *id = id_in_key(scan.found[i]);

			if (id && !known_has(known, id))
				scan.found[unknown++] = id;
		}
		if (good && unknown)
			good = found(s, &arena, scan.found, unknown, argument);
		arena_free(&arena);
	}
	return good;
}

bool
orphans_ask_truth(struct sweeper *s, struct arena *arena, const char *const *ids, size_t count,
    struct known *known)
{
	const char **asked = arena_alloc(arena, sizeof(*asked) * (count + 1));
	struct rows *rows;
	size_t uuids = 0;

	for (size_t i = 0; i < count; i++)
		if (sweeper_is_uuid(ids[i]))
			asked[uuids++] = ids[i];
	asked[0] = sweeper_array(arena, asked, uuids);
	if (!sweeper_query(s, SQL_MIRROR_STATES, 1, asked, &rows))
		return false;
	for (int row = 0; row < rows_count(rows); row++)
		known_add(known, rows_text_at(rows, row, "mitra_id"));
	rows_free(rows);
	return true;
}

static bool
remove_some(struct sweeper *s, struct arena *arena, const char *const *ids, size_t count)
{
	struct valkey_batch *batch = sweeper_read(s);
	struct valkey_replies *versions, *removed;
	struct known known = { 0 };
	const char **pairs = arena_alloc(arena, sizeof(*pairs) * (2 * count + 2));
	size_t used = 0;

	sweeper_add_many(batch, arena, "MGET", NULL, "mitra:version:", ids, count);
	versions = sweeper_ask(s, batch);
	if (!versions)
		return false;
	if (!orphans_ask_truth(s, arena, ids, count, &known)) {
		valkey_replies_free(versions);
		return false;
	}
	pairs[used++] = "0"; /* no KEYS */
	for (size_t i = 0; i < count; i++)
		if (!known_has(&known, ids[i])) {
			const redisReply *version = versions->reply[1]->element[i];

			pairs[used++] = ids[i];
			pairs[used++] = version->type == REDIS_REPLY_STRING
					    ? arena_strdup(arena, version->str)
					    : "";
		}
	known_free(&known);
	valkey_replies_free(versions);
	if (used == 1)
		return true;
	batch = valkey_batch_new(s->valkey);
	sweeper_add_many(batch, arena, "EVAL", mirror_forget_script, "", pairs, used);
	removed = sweeper_ask(s, batch);
	if (!removed)
		return false;
	if (removed->reply[0]->integer)
		log_info("[valkey-mirror] removed what was left of %lld unknown mitras",
		    removed->reply[0]->integer);
	valkey_replies_free(removed);
	mirror_snapshot_bust(s->mirror);
	return true;
}

bool
orphans_remove(
    struct sweeper *s, struct arena *arena, const char *const *ids, size_t count, void *unused)
{
	for (size_t at = 0; at < count; at += REMOVE_MAX)
		if (!remove_some(
			s, arena, ids + at, count - at < REMOVE_MAX ? count - at : REMOVE_MAX))
			return false;
	return true;
}
