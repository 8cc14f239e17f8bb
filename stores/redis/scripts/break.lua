-- Breaks a log of this epoch that lacks what a node appended to it: it cannot be resumed. Its holder's node is told.
-- KEYS: state, log. ARGV: epoch, node, serial of that node's last call that was answered, channel prefix, message.
local epoch, holder, serial = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'node', 'by:' .. ARGV[2]))
if epoch ~= ARGV[1] or tonumber(serial or 0) >= tonumber(ARGV[3]) then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'broken', 1, 'bytes', 0)
if holder and holder ~= '' then redis.call('PUBLISH', ARGV[4] .. holder, ARGV[5]) end
return 1
