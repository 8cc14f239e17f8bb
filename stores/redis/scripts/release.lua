-- Ends a claim, if this socket holds it. A log of version 1 keeps what its socket was not handed.
-- KEYS: state, log. ARGV: node, socket, lifetime in seconds, the last offset that was handed out ('' if unknown),
-- and what tells this call from others if it is repeated.
local state, log = KEYS[1], KEYS[2]
local node, socket, tokens, unheard, top, last =
  unpack(redis.call('HMGET', state, 'node', 'socket', 'tokens', 'unheard', 'top', 'released'))
if node == '' and last == ARGV[5] then return 1 end
if node ~= ARGV[1] or socket ~= ARGV[2] then return 0 end
redis.call('HSET', state, 'node', '', 'socket', '', 'released', ARGV[5])
redis.call('HDEL', state, 'unheard')
if top and tokens == '' then
  local first = ARGV[4] ~= '' and string.format('%d', ARGV[4] + 1) or unheard or string.format('%d', top + 1)
  redis.call('XTRIM', log, 'MINID', first .. '-0')
end
redis.call('EXPIRE', state, ARGV[3])
redis.call('EXPIRE', log, ARGV[3])
return 1
