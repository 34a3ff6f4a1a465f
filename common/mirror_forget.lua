--[[
mirror_forget.lua: takes mitras out of the mirror whom the truth does not know (see sweeper/orphans.c).

ARGV: for each mitra its id, and the mitra:version:<id> that was seen before the truth was asked, "" if none.
Whoever has another by now was created, or shown again, in between, and stays.

Answers how many were removed.
]]
local removed = 0

for i = 1, #ARGV, 2 do
	local id, seen = ARGV[i], ARGV[i + 1]
	-- pcall: under this name there may be a key that is no string, and that goes too.
	local version = redis.pcall('GET', 'mitra:version:' .. id)

	if (type(version) == 'string' and version or '') == seen then
		redis.call('SREM', 'mitras:online', id)
		redis.call('SREM', 'mitras:deactivated', id)
		redis.call('ZREM', 'mirror:ranking', id)
		redis.call('SREM', 'mirror:silent', id)
		redis.call('DEL', 'mitra:version:' .. id, 'mitra:capacity:' .. id, 'mitra:heartbeat:' .. id)
		removed = removed + 1
	end
end
return removed
