-- Goes on with a log after an offset, for the socket that holds the claim; answers its epoch, '' if it is not whole.
-- KEYS: state, log. ARGV: node, socket, hash of the token that the client has, offset, hash of the next token.
local state, log = KEYS[1], KEYS[2]
local node, socket, tokens, top, broken = unpack(redis.call('HMGET', state, 'node', 'socket', 'tokens', 'top', 'broken'))
if node ~= ARGV[1] or socket ~= ARGV[2] or broken or not top then return '' end
local at = string.find(tokens, ARGV[3], 1, true)
if not at then return '' end
local offset = tonumber(ARGV[4])
if offset > tonumber(top) or offset < top - redis.call('XLEN', log) then return '' end
-- Another socket may have got a token that its client has, and may be closed by now: that one stays good, too.
local others = string.sub(tokens, 1, at - 1) .. string.sub(tokens, at + #ARGV[3] + 1)
if others ~= '' and string.sub(others, -1) ~= ' ' then others = others .. ' ' end
others = string.sub(others, -2 * (#ARGV[3] + 1))
redis.call('HSET', state, 'tokens', others .. ARGV[3] .. ' ' .. ARGV[5])
return redis.call('HGET', state, 'epoch')
