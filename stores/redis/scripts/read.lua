-- Reads a log after an offset, or all of it for the offset -1. KEYS: state, log. ARGV: offset, most events at once, and the
-- node and the socket that this is for: what a socket of version 1 was to get has reached its node by that.
-- Answers the holder's node and socket, when it claimed the user, the epoch, the top, 1 if some of it is not there any more,
-- and the entries.
local state, log = KEYS[1], KEYS[2]
local node, socket, claimed_at, epoch, top, broken, tokens =
  unpack(redis.call('HMGET', state, 'node', 'socket', 'claimed_at', 'epoch', 'top', 'broken', 'tokens'))
if not epoch then return {node or '', socket or '', claimed_at or 0, '', 0, 0, {}} end
if tokens == '' and node == ARGV[3] and socket == ARGV[4] then redis.call('HDEL', state, 'unheard') end
local offset, first = tonumber(ARGV[1]), top - redis.call('XLEN', log)
local is_short = broken or (offset >= 0 and offset < first) or offset > tonumber(top)
local start = string.format('%d', math.max(offset, first) + 1) .. '-0'
local entries = is_short and {} or redis.call('XRANGE', log, start, '+', 'COUNT', ARGV[2])
return {node, socket, claimed_at or 0, epoch, tonumber(top), is_short and 1 or 0, entries}
