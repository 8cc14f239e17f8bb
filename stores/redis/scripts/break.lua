-- Breaks a log of this epoch that lacks an event up to an offset: it cannot be resumed. KEYS: state, log.
-- ARGV: epoch, offset.
local epoch, top = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'top'))
if epoch ~= ARGV[1] or tonumber(top) >= tonumber(ARGV[2]) then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'broken', 1, 'bytes', 0)
return 1
