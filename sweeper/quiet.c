/*
 * quiet: tells the mirror's index who has not been heard of lately (see common/mirror_index.c).
 *
 * A sweep reads all heartbeats anyway.  It says at its beginning what it takes for heard, so that the script
 * that shows states notes whom it gives an older heartbeat meanwhile; notes the others that it sees; and at
 * its end says that everybody else was heard.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/valkey.h"
#include "sweeper/sweeper.h"

/*
 * KEYS: silent, heard.  ARGV: what is taken for heard, how many silent ones the index bears, their ids.  Whoever was
 * heard meanwhile, or has gone offline, is taken out.  More than a few thousand are not looked at: so many silent ones
 * are on their way offline.
 */
static const char end_script[] =
    "local silent, since, most = KEYS[1], ARGV[1], tonumber(ARGV[2]) "
    "if #ARGV > 2 then redis.call('SADD', silent, unpack(ARGV, 3)) end "
    "for _, id in ipairs(redis.call('SRANDMEMBER', silent, 2 * most)) do "
    " local heard = redis.pcall('GET', 'mitra:heartbeat:' .. id) "
    " if type(heard) == 'string' and heard >= since and string.match(heard, '^%d%d%d%d%-') "
    " or not heard and redis.call('SISMEMBER', 'mitras:online', id) == 0 then "
    "  redis.call('SREM', silent, id) "
    " end "
    "end "
    "if redis.call('SCARD', silent) > most then redis.call('DEL', KEYS[2]) "
    "else redis.call('SET', KEYS[2], since) end "
    "return 1";

bool
quiet_begin(struct sweeper *s, struct quiet *quiet, int64_t cutoff_ms)
{
	struct valkey_batch *batch = valkey_batch_new(s->valkey);
	struct valkey_replies *replies;

	quiet->cutoff_ms = cutoff_ms;
	clock_iso(cutoff_ms, quiet->cutoff);
	valkey_add(batch, "SET", "mirror:hearing", quiet->cutoff, NULL);
	replies = sweeper_ask(s, batch);
	valkey_replies_free(replies);
	return replies;
}

void
quiet_note(struct quiet *quiet, const char *id)
{
	if (quiet->count <= MIRROR_SILENT_MOST)
		quiet->ids[quiet->count++] = arena_strdup(&quiet->arena, id);
}

bool
quiet_end(struct sweeper *s, struct quiet *quiet)
{
	struct valkey_batch *batch = valkey_batch_new(s->valkey);
	const char *arguments[6 + MIRROR_SILENT_MOST + 1] = { end_script, "2", "mirror:silent",
		"mirror:heard", quiet->cutoff,
		arena_printf(&quiet->arena, "%d", MIRROR_SILENT_MOST) };
	struct valkey_replies *replies;

	memcpy(arguments + 6, quiet->ids, quiet->count * sizeof(*quiet->ids));
	sweeper_add_many(batch, &quiet->arena, "EVAL", NULL, "", arguments, 6 + quiet->count);
	replies = sweeper_ask(s, batch);
	valkey_replies_free(replies);
	return replies;
}

bool
quiet_all_since(struct sweeper *s, int64_t since_ms)
{
	struct quiet quiet = { 0 };
	bool good = quiet_begin(s, &quiet, since_ms) && quiet_end(s, &quiet);

	arena_free(&quiet.arena);
	return good;
}
