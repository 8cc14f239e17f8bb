-- Makes a socket the holder of a user's claim, and tells the node of the one before.
-- KEYS: state, log. ARGV: node, socket, lifetime in seconds, channel prefix, message for the other node, a socket of
-- this node with the last offset that it was handed ('' if unknown), when this claim was asked for, and until when it
-- counts, both in milliseconds by the clock of Redis.
-- Answers the node and the socket that held the claim before, '' and '' if there was none; 'late' if the time is up: the
-- caller has given up, so nothing changes; 'older' if a claim that was asked for later came first, and stands.
local state, log = KEYS[1], KEYS[2]
local node, socket, tokens, unheard, top, asked_at, claimed_at =
  unpack(redis.call('HMGET', state, 'node', 'socket', 'tokens', 'unheard', 'top', 'asked_at', 'claimed_at'))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[9]) then return 'late' end
if node == ARGV[1] and socket == ARGV[2] then
  return redis.call('HMGET', state, 'before_node', 'before_socket')
end
if asked_at and tonumber(asked_at) > tonumber(ARGV[8]) + 100 then return 'older' end -- clocks differ a little
local is_free = not node or node == ''
redis.call('HSET', state, 'node', ARGV[1], 'socket', ARGV[2], 'before_node', node or '', 'before_socket', socket or '')
redis.call('HSET', state, 'asked_at', string.format('%d', math.min(tonumber(ARGV[8]), now)))
redis.call('HSET', state, 'claimed_at', string.format('%d', math.max(now, (claimed_at or 0) + 1)))
redis.call('EXPIRE', state, ARGV[3])
redis.call('EXPIRE', log, ARGV[3])
if not is_free and node ~= ARGV[1] then redis.call('PUBLISH', ARGV[4] .. node, ARGV[5] .. socket) end
if top and tokens == '' then
  if not is_free then
    -- A socket of version 1 may have got all that reached its node: none of it is handed out again.
    local first = unheard or string.format('%d', top + 1)
    if node == ARGV[1] and socket == ARGV[6] then first = string.format('%d', ARGV[7] + 1) end
    redis.call('XTRIM', log, 'MINID', first .. '-0')
  end
  -- The rest, and what comes, has not reached the new holder's node either, until that reads it.
  redis.call('HSET', state, 'unheard', string.format('%d', top - redis.call('XLEN', log) + 1))
end
return is_free and {'', ''} or {node, socket}
