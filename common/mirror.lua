--[[
mirror.lua: the one writer of the mirror.

Applies a batch of mirror states to Valkey as one atomic step: mitras:online, mitras:deactivated,
mitra:capacity:<id>, mitra:heartbeat:<id>, and mitra:version:<id> that says which state of the truth the
others show.  A state whose version is older than the one shown is skipped, so toggles, sweeps and reseeds
may race and arrive in any order.  An equal version does apply: it is the same state, and what somebody
edited by hand in Valkey heals.

In the same step it keeps the index of those online (see mirror_index.c), which so is as new as what it indexes:

  mirror:ranking  who is online, by RANK * load + the time (ms) since when the load is that; whoever is
                  deactivated comes after any load
  mirror:silent   besides those whom the sweeper puts there: whose heartbeat is only the truth's, and older than
                  what the sweeper takes for heard (mirror:hearing)

ARGV: now, now in ms, the latest believable heartbeat, "stamp" or "plain", cutoff ("" if none), then for
every state: id, version, online (0/1), active (0/1), sessions, heartbeat ("" if none), expected ("" if none).

  stamp     whoever is online was heard now: nobody could be heard for a while
  cutoff    the states are of mitras swept offline for silence since then; whoever was heard after it is
            left alone (see sweeper/auto_offline.c)
  expected  forces a state on a mirror that shows exactly that newer version: the truth was restored from a
            backup (see sweeper/reseed.c)

Answers the number of applied states, then for each that was skipped its id and the newer version, or "" if
it was heard.
]]
local HEADER, FIELDS = 5, 7
local ISO = '^(%d%d%d%d)%-(%d%d)%-(%d%d)T(%d%d):(%d%d):(%d%d)%.%d%d%dZ$'
local DAYS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
-- Of one who is online but was never heard of.  Without a key the next ping would find none to set.
local NEVER = '1970-01-01T00:00:00.000Z'
local SNAPSHOT = 'availability:snapshot'
local SNAPSHOT_MS, CHURN_MS = 10000, 250
local RANK, LAST_LOAD = 1e13, 899 -- a double has room for both

local now, now_ms, horizon, stamping, cutoff = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4] == 'stamp', ARGV[5]
local changed = false

-- A key that somebody made another type counts as absent; SET replaces it.
local function text_of(key)
	local text = redis.pcall('GET', key)
	return type(text) == 'string' and text or nil
end

-- The rule of clock_parse_iso(): who has a heartbeat that is no time, 30 February say, was not heard.
local function is_time(text)
	local year, month, day, hour, minute, second = string.match(text, ISO)
	if not year then
		return false
	end
	year, month = tonumber(year), tonumber(month)
	local leap = month == 2 and year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
	local days = (DAYS[month] or 0) + (leap and 1 or 0)
	return tonumber(day) >= 1 and tonumber(day) <= days and hour < '24' and minute < '60' and second < '60'
end

local function heartbeat_of(id)
	local heard = text_of('mitra:heartbeat:' .. id)
	return heard and is_time(heard) and heard or nil
end

local function show_member(set, id, wanted)
	if redis.call(wanted and 'SADD' or 'SREM', set, id) == 1 then
		changed = true
	end
end

local function show_sessions(id, sessions)
	local key = 'mitra:capacity:' .. id
	if text_of(key) ~= sessions then
		redis.call('SET', key, sessions)
		changed = true
	end
end

local function note_silent(id, known)
	local hearing = text_of('mirror:hearing')
	if not hearing or known < hearing then
		redis.call('SADD', 'mirror:silent', id)
	end
end

-- A heartbeat never goes back, and a state of the truth never makes it newer than the truth knows: only
-- "stamp" does.  One from the future (a clock was set back) is not believed then.
local function show_heartbeat(id, online, known)
	local key = 'mitra:heartbeat:' .. id
	if not online then
		redis.call('DEL', key)
		redis.call('SREM', 'mirror:silent', id)
		return
	end
	local shown = heartbeat_of(id)
	if stamping and not (shown and shown >= now and shown <= horizon) then
		redis.call('SET', key, now)
		changed = true
	elseif not shown or shown < known then
		redis.call('SET', key, known ~= '' and known or NEVER)
		note_silent(id, known)
	end
end

local function show_rank(id, online, active, sessions)
	if not online then
		redis.call('ZREM', 'mirror:ranking', id)
		return
	end
	local load = active and math.min(tonumber(sessions), LAST_LOAD - 1) or LAST_LOAD
	local shown = redis.call('ZSCORE', 'mirror:ranking', id)
	if not shown or math.floor(tonumber(shown) / RANK) ~= load then
		redis.call('ZADD', 'mirror:ranking', string.format('%.0f', load * RANK + now_ms), id)
	end
end

-- What somebody made another type is no set any more, so everybody in it is forgotten: nobody may believe the
-- mirror until it is reseeded.
local function mend_set(set)
	local kind = redis.call('TYPE', set).ok
	if kind ~= 'set' and kind ~= 'none' then
		redis.call('DEL', set, 'mirror:generation')
	end
end

-- Without its index the mirror is only slower.
local function mend_index(key, type)
	local kind = redis.call('TYPE', key).ok
	if kind ~= type and kind ~= 'none' then
		redis.call('UNLINK', key, 'mirror:heard')
	end
end

-- The beacon must follow, but churn may cost no more than a recompute each CHURN_MS.
local function expire_snapshot()
	if type(redis.pcall('INCR', 'mirror:changes')) == 'table' then
		redis.call('SET', 'mirror:changes', 1)
	end
	local left = redis.call('PTTL', SNAPSHOT)
	if left > SNAPSHOT_MS - CHURN_MS then
		redis.call('PEXPIRE', SNAPSHOT, left - (SNAPSHOT_MS - CHURN_MS))
	elseif left > CHURN_MS or left == -1 then
		redis.call('DEL', SNAPSHOT)
	end
end

mend_set('mitras:online')
mend_set('mitras:deactivated')
mend_index('mirror:ranking', 'zset')
mend_index('mirror:silent', 'set')

local answer = { 0 }
local function skip(id, why)
	answer[#answer + 1] = id
	answer[#answer + 1] = why
end

for at = HEADER + 1, #ARGV, FIELDS do
	local id, version, online, active, sessions, heartbeat, expected = unpack(ARGV, at, at + FIELDS - 1)
	local key = 'mitra:version:' .. id
	local shown = text_of(key)
	local heard = cutoff ~= '' and online ~= '1' and heartbeat_of(id)
	if shown ~= expected and (tonumber(shown) or 0) > tonumber(version) then
		skip(id, shown)
	elseif heard and heard > cutoff then
		skip(id, '')
	else
		if shown ~= version then
			redis.call('SET', key, version)
		end
		show_member('mitras:online', id, online == '1')
		show_member('mitras:deactivated', id, active ~= '1')
		show_sessions(id, sessions)
		show_heartbeat(id, online == '1', heartbeat)
		show_rank(id, online == '1', active == '1', sessions)
		answer[1] = answer[1] + 1
	end
end
if changed then
	expire_snapshot()
end
return answer
