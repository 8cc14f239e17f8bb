-- Renews the lease of a node. KEYS: nodes. ARGV: node, seconds.
-- Answers the time, until when the lease was known to last (nil if it was not), and which nodes have a lease.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
return {string.format('%.6f', now), known, redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')}
