-- Lets go of a log's events up to an offset. KEYS: state, log. ARGV: epoch, offset.
local state, log = KEYS[1], KEYS[2]
local epoch, bytes, unheard = unpack(redis.call('HMGET', state, 'epoch', 'bytes', 'unheard'))
if epoch ~= ARGV[1] then return 0 end
for _, entry in ipairs(redis.call('XRANGE', log, '-', ARGV[2] .. '-0')) do bytes = bytes - #entry[2][2] end
redis.call('XTRIM', log, 'MINID', string.format('%d', ARGV[2] + 1) .. '-0')
redis.call('HSET', state, 'bytes', string.format('%d', math.max(0, bytes)))
if unheard and tonumber(unheard) <= tonumber(ARGV[2]) then redis.call('HDEL', state, 'unheard') end
return 1
