--[[
rate_limit.lua: takes one token out of a bucket, if there is one.

KEYS: the bucket.  ARGV: how many tokens it holds, in how many milliseconds an empty one is full again.

The bucket is one number: when it will be full again (microseconds of the server's clock).  Each token taken moves that on by
what one token takes to come back; if it would lie more than a whole period ahead, the bucket is empty.  Where there is no key
the bucket is full, so a bucket needs no cleaning up: its key expires when it is full.

Answers: taken (0/1), tokens left, milliseconds until it is full, milliseconds until there is a token again (0: there is one).
]]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local period = ARGV[2] * 1000
local each = math.floor(period / ARGV[1])
local full = tonumber(redis.call('GET', KEYS[1])) or 0

-- Never further ahead than an empty bucket: the clock may have been set back.
full = math.min(math.max(full, now), now + period)
if full + each > now + period then
	return { 0, 0, math.ceil((full - now) / 1000), math.ceil((full + each - period - now) / 1000) }
end
full = full + each
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
return { 1, math.floor((now + period - full) / each), math.ceil((full - now) / 1000), 0 }
