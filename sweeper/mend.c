/*
 * mend: our own keys, made usable again after somebody wrote into them by hand.
 *
 * One that was made another type fails every command that reads it; one that should expire and was made to
 * last stands in the way for ever, and so does a time that is none or lies ahead.  What is no good is
 * deleted: all of these come back by themselves, a ranking of others than are online by the reseed that is about
 * to begin.  The keys of a mitra are mirror.lua's.
 */
#include <string.h>

#include "common/clock.h"
#include "common/valkey.h"
#include "sweeper/sweeper.h"

#define BELIEVABLE_MS 60000 /* a time further ahead is of a clock that was set back since */

/* KEYS: those that expire, as many as ARGV[2], then those that last. ARGV: horizon. */
static const char script[] =
    "local times = { ['mirror:alive'] = true, ['mirror:heard'] = true, ['mirror:hearing'] = true } "
    "local iso = '^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$' "
    "for i, key in ipairs(KEYS) do "
    " local kind = redis.call('TYPE', key).ok "
    " local bad = kind ~= 'string' or (i <= tonumber(ARGV[2]) and redis.call('PTTL', key) == -1) "
    " if not bad and times[key] then "
    "  local text = redis.call('GET', key) "
    "  bad = not string.match(text, iso) or text > ARGV[1] "
    " end "
    " if bad then redis.call('DEL', key) end "
    "end "
    "return 1";

/* KEYS: mirror:ranking, mitras:online, mirror:writers.  pcall: mirror.lua mends the types of the first two. */
static const char sorted_script[] =
    "if redis.call('TYPE', KEYS[3]).ok ~= 'zset' then redis.call('DEL', KEYS[3]) end "
    "local ranked, online = redis.pcall('ZCARD', KEYS[1]), redis.pcall('SCARD', KEYS[2]) "
    "if ranked ~= online then redis.call('UNLINK', KEYS[1]) end "
    "return 1";

bool
mend(struct sweeper *s)
{
	struct valkey_batch *batch = valkey_batch_new(s->valkey);
	struct valkey_replies *replies;
	char horizon[CLOCK_ISO_SIZE];

	clock_iso(clock_wall_ms() + BELIEVABLE_MS, horizon);
	valkey_add(batch, "EVAL", script, "11", "mirror:alive", "mirror:snapshot:lock",
	    "availability:snapshot", "sweeper:lease", "mirror:generation", "mirror:stamped",
	    "mirror:dirty", "mirror:config", "mirror:changes", "mirror:heard", "mirror:hearing",
	    horizon, "4", NULL);
	valkey_add(batch, "EVAL", sorted_script, "3", "mirror:ranking", "mitras:online",
	    "mirror:writers", NULL);
	replies = sweeper_ask(s, batch);
	valkey_replies_free(replies);
	return replies;
}
