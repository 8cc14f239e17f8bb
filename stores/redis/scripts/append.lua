-- Appends events to the log of one user, and sends them to the node that holds the claim, unless that is the caller.
-- KEYS: state, log, recent, where requests are known; the messages of a stream are in a key of their own, `recent:STREAM`,
-- and in `recent:senders` since when each sender that came back has its socket.
-- ARGV: node, serial of this call, channel prefix, header of the message, most events, most bytes, reserved events,
-- ms for which a key is known, most requests, most messages of a stream;
-- then of each event how it is kept, its key ('' for none; that of a message begins with 16 letters for its stream), when it was
-- sent (0 for now), since when its sender has the socket that it came over (0 for no matter), its payload, and what else the
-- node needs, the sender among it.
-- Answers the holder's node, the epoch, then of each event an outcome and an offset, or when it was sent first.
-- Outcomes: 0 kept, 1 sent before, 2 full, 3 overflowed, 4 dropped, 5 told on return, 6 done by an earlier call,
-- 7 too late: its sender has come back over another socket.
local state, log, recent = KEYS[1], KEYS[2], KEYS[3]
local caller, serial = ARGV[1], tonumber(ARGV[2])
local most, most_bytes, reserved, known_for = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local node, epoch, top, bytes, tokens, broken, last =
  unpack(redis.call('HMGET', state, 'node', 'epoch', 'top', 'bytes', 'tokens', 'broken', 'by:' .. caller))
local answers = {node or '', epoch or ''}
if not epoch then
  for _ = 11, #ARGV, 6 do answers[#answers + 1] = 4; answers[#answers + 1] = 0 end
  return answers
end
top, bytes = tonumber(top), tonumber(bytes)
local is_away, is_again = node == '' or not node, last and serial <= tonumber(last)
local count, first, parts, added = redis.call('XLEN', log), top + 1, {}, {}
local is_new = count == 0
if is_new then bytes = 0 end

local function drop_first()
  local entry = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', log, entry[1])
  bytes, count = bytes - #entry[2][2], count - 1
end

local function refusal(kept, size)
  if broken then return 4 end
  if count < most and bytes + size <= most_bytes then return nil end
  if tokens == '' then broken = true; return 3 end
  if kept == 'if_room' then return 2 end
  if count < most + reserved and bytes + size <= 2 * most_bytes then return nil end
  broken = true
  redis.call('DEL', log)
  redis.call('HSET', state, 'broken', 1)
  bytes, count = 0, 0
  return 4
end

local function is_late(claimed_at, sender)
  local latest = claimed_at ~= '0' and not is_again and redis.call('ZSCORE', recent .. ':senders', sender)
  return latest and tonumber(latest) > tonumber(claimed_at)
end

local function outcome(kept, known_in, key, sent_at, payload)
  if is_again and kept == 'if_told' then return 6, 0 end
  if key ~= '' then
    local known = redis.call('ZSCORE', known_in, key)
    if kept == 'if_told' then
      if not known then return 4, 0 end
      redis.call('ZREM', known_in, key)
    elseif known and known + known_for > now then
      if is_again and tonumber(known) == tonumber(sent_at) then return 6, 0 end
      return 1, known
    end
    if kept == 'while_pending' and is_away then return 5, 0 end
  elseif is_again then
    return 6, 0
  end
  local refused = is_away and refusal(kept, #payload)
  if refused then return refused, 0 end
  top, bytes, count = top + 1, bytes + #payload, count + 1
  redis.call('XADD', log, string.format('%d', top) .. '-0', 'e', payload)
  return 0, top
end

for at = 11, #ARGV, 6 do
  local kept, key, sent_at, claimed_at, payload, meta = unpack(ARGV, at, at + 5)
  local known_in, most_known = recent, ARGV[9]
  if kept == 'while_pending' or kept == 'if_told' then
    if tokens == '' then kept, key = 'always', '' else key = epoch .. key end
  elseif key ~= '' then
    known_in, key, most_known = recent .. ':' .. string.sub(key, 1, 16), string.sub(key, 17), ARGV[10]
  end
  local what, number = 7, 0
  if not is_late(claimed_at, meta) then what, number = outcome(kept, known_in, key, sent_at, payload) end
  if what == 0 then
    if key ~= '' and kept ~= 'if_told' then
      redis.call('ZADD', known_in, sent_at == '0' and string.format('%d', now) or sent_at, key)
      added[known_in] = most_known
    end
    parts[#parts + 1] = struct.pack('>I4I4', #payload, #meta) .. payload .. meta
  end
  answers[#answers + 1] = what
  answers[#answers + 1] = number
end
while not is_away and count > 0 and (count > most or bytes > most_bytes) do drop_first() end
if not is_again then redis.call('HSET', state, 'by:' .. caller, string.format('%d', serial)) end
redis.call('HSET', state, 'top', string.format('%d', top), 'bytes', string.format('%d', bytes))
if is_new and #parts > 0 then redis.call('EXPIRE', log, redis.call('TTL', state)) end
for known_in, most_known in pairs(added) do
  redis.call('ZREMRANGEBYSCORE', known_in, '-inf', string.format('%d', now - known_for))
  redis.call('ZREMRANGEBYRANK', known_in, 0, -most_known - 1)
  redis.call('PEXPIRE', known_in, known_for)
end
if #parts > 0 and not is_away and node ~= caller then
  local message = ARGV[4] .. epoch .. ' ' .. string.format('%d', first) .. '\n' .. table.concat(parts)
  if redis.call('PUBLISH', ARGV[3] .. node, message) == 0 then
    redis.call('HSETNX', state, 'unheard', string.format('%d', first))
    answers[1] = ''
  end
end
return answers
