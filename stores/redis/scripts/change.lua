-- Changes records of one shard, each only if it is as expected. Each change is an entry of the shard's change stream,
-- which names the entry before it, so that a follower notices whatever it missed.
-- KEYS: changes, peers, requests, sessions, places. ARGV: node, length of the stream; then of each change its serial,
-- kind, field, the row before ('*' for any, '' for none) and the row after ('' for none).
-- Answers the id of the last entry, then 1 for each change that was made and 0 for each other.
-- What a newer version has added to the end of a row does not make it another row, and stays.
local changes, places = KEYS[1], KEYS[5]
local hashes = {peer = KEYS[2], request = KEYS[3], session = KEYS[4]}
local latest = redis.call('XREVRANGE', changes, '+', '-', 'COUNT', 1)[1]
local answers = {latest and latest[1] or '0-0'}

local function rest_of(found, before)
  if before == '*' or (before == '' and not found) then return '}' end
  if before == '' or not found then return nil end
  if string.sub(found, 1, #before - 1) ~= string.sub(before, 1, -2) then return nil end
  return string.match(string.sub(found, #before), '^[,}].*')
end

local function place_of(user, is_there)
  local place = redis.call('HGET', places, user)
  if not is_there then
    redis.call('HDEL', places, user)
  elseif not place then
    place = redis.call('HINCRBY', places, cjson.encode(cjson.decode(user)[2]), 1)
    redis.call('HSET', places, user, place)
  end
  return place or 0
end

for at = 3, #ARGV, 5 do
  local serial, kind, field, before, after = unpack(ARGV, at, at + 4)
  local found = redis.call('HGET', hashes[kind], field)
  local rest = rest_of(found, before)
  local is_made = rest and (found or after ~= '')
  if is_made then
    if after == '' then
      redis.call('HDEL', hashes[kind], field)
    else
      after = string.sub(after, 1, -2) .. rest
      redis.call('HSET', hashes[kind], field, after)
    end
    local place = kind == 'peer' and place_of(field, after ~= '') or 0
    local entry = {'before', answers[1], 'node', ARGV[1], 'serial', serial, 'kind', kind, 'field', field, 'row', after}
    answers[1] = redis.call('XADD', changes, 'MAXLEN', '~', ARGV[2], '*', 'place', place, unpack(entry))
  end
  table.insert(answers, is_made and 1 or 0)
end
return answers
