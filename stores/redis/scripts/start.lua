-- Starts a log over for the socket that holds the claim; answers its epoch, '' if another socket does.
-- KEYS: state, log. ARGV: node, socket, epoch, hash of the token ('' for a socket of version 1).
local state, log = KEYS[1], KEYS[2]
local node, socket, epoch, tokens, broken = unpack(redis.call('HMGET', state, 'node', 'socket', 'epoch', 'tokens', 'broken'))
if node ~= ARGV[1] or socket ~= ARGV[2] then return '' end
local is_kept = epoch and not broken and tokens == '' and ARGV[4] == ''
if epoch == ARGV[3] or is_kept then return epoch end
redis.call('DEL', log)
redis.call('HDEL', state, 'broken')
redis.call('HSET', state, 'epoch', ARGV[3], 'tokens', ARGV[4], 'top', 0, 'bytes', 0, 'unheard', 1)
return ARGV[3]
