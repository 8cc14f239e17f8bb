"""Changes of records, each one Lua script and so atomic. Told to all nodes in the order in which they were made.

`KEYS[1]` is what all keys of the org begin with. `ARGV` begins with the channel of changes, the org as JSON, and the id
of the node that asks. A change is told as a JSON array: its kind, the node, the org, the org's version by it, and what
it is about. The version grows by one with each change, so that who missed one notices; what was restored is none, and
everybody has to read it.
"""

from functools import cache
from hashlib import sha1


@cache
def sha(script: str) -> str:
    """Return the name by which Redis knows a script that it was given."""
    return sha1(script.encode(), usedforsecurity=False).hexdigest()


_TELL = """
local function tell(kind, about)
  local version = redis.call('INCR', k .. 'version')
  local told = kind .. '","' .. node .. '",' .. org .. ',' .. string.format('%d', version) .. ',' .. about
  redis.call('PUBLISH', channel, '["' .. told .. ']')
  return version
end
"""

_PRELUDE = f"""
local k, channel, org, node = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
{_TELL}
local function version()
  return tonumber(redis.call('GET', k .. 'version') or '0')
end
local function put_peer(user, peer)
  local place = redis.call('HGET', k .. 'places', user)
  if not place then
    place = string.format('%d', redis.call('INCR', k .. 'placed'))
    redis.call('HSET', k .. 'places', user, place)
  end
  redis.call('HSET', k .. 'peers', user, peer)
  return tell('peer', place .. ',' .. peer)
end
local function remove_peer(user)
  redis.call('HDEL', k .. 'peers', user)
  redis.call('HDEL', k .. 'places', user)
  return tell('gone', cjson.encode(user))
end
local function home(user, socket)
  local fence = string.format('%d', redis.call('INCR', k .. 'fenced'))
  redis.call('HSET', k .. 'homes', user, node .. ' ' .. socket .. ' ' .. fence)
  return tell('home', cjson.encode(user) .. ',"' .. node .. '",' .. socket .. ',' .. fence)
end
"""

VERSION = """
return tonumber(redis.call('GET', KEYS[1] .. 'version') or '0')
"""

CLAIM = (
    _PRELUDE
    + """
local user, holder, socket = ARGV[4], ARGV[5], ARGV[6]
local before = redis.call('HGET', k .. 'holders', user)
redis.call('HSET', k .. 'holders', user, holder)
return {home(user, socket), before}
"""
)

RELEASE = (
    _PRELUDE
    + """
local user, holder = ARGV[4], ARGV[5]
if redis.call('HGET', k .. 'holders', user) ~= holder then return 0 end
return redis.call('HDEL', k .. 'holders', user)
"""
)

ADOPT = (
    _PRELUDE
    + """
local user, fence, holder = ARGV[4], ARGV[5], ARGV[6]
local at = redis.call('HGET', k .. 'homes', user)
if not at or string.match(at, ' (%d+)$') ~= fence then return {version(), 0} end
if redis.call('HGET', k .. 'holders', user) == holder then redis.call('HDEL', k .. 'holders', user) end
return {home(user, '0'), 1}
"""
)

RECLAIM = (
    _PRELUDE
    + """
local user, fence, holder, socket = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local at = redis.call('HGET', k .. 'homes', user)
if not at or string.match(at, ' (%d+)$') ~= fence then return {version(), 0} end
redis.call('HSET', k .. 'holders', user, holder)
return {home(user, socket), 1}
"""
)

REGISTER = (
    _PRELUDE
    + """
local user, holder, peer = ARGV[4], ARGV[5], ARGV[6]
if redis.call('HGET', k .. 'holders', user) ~= holder then return {version(), 0} end
return {put_peer(user, peer), 1}
"""
)

PUT_PEER = (
    _PRELUDE
    + """
return {put_peer(ARGV[4], ARGV[5])}
"""
)

PUT_RELEASED_PEER = (
    _PRELUDE
    + """
if redis.call('HEXISTS', k .. 'holders', ARGV[4]) == 1 then return {version(), 0} end
return {put_peer(ARGV[4], ARGV[5]), 1}
"""
)

REMOVE_RELEASED_PEER = (
    _PRELUDE
    + """
local peer = redis.call('HGET', k .. 'peers', ARGV[4])
if not peer or redis.call('HEXISTS', k .. 'holders', ARGV[4]) == 1 then return {version()} end
return {remove_peer(ARGV[4]), peer}
"""
)

REMOVE_PEER = (
    _PRELUDE
    + """
local peer = redis.call('HGET', k .. 'peers', ARGV[4])
if not peer then return {version()} end
return {remove_peer(ARGV[4]), peer}
"""
)

TAKE_LAPSED = (
    _PRELUDE
    + """
local now, taken = tonumber(ARGV[4]), {}
for at = 5, #ARGV do
  local peer = redis.call('HGET', k .. 'peers', ARGV[at])
  local lapses_at = peer and cjson.decode(peer)['lapses_at']
  if type(lapses_at) == 'number' and lapses_at <= now then
    remove_peer(ARGV[at])
    table.insert(taken, peer)
  end
end
return {version(), unpack(taken)}
"""
)

ADD_REQUEST = (
    _PRELUDE
    + """
redis.call('HSET', k .. 'requests', ARGV[4], ARGV[5])
return {tell('request', ARGV[5])}
"""
)

TAKE_REQUESTS = (
    _PRELUDE
    + """
local taken = {}
for at = 4, #ARGV do
  local request = redis.call('HGET', k .. 'requests', ARGV[at])
  if request then
    redis.call('HDEL', k .. 'requests', ARGV[at])
    tell('taken', cjson.encode(ARGV[at]))
    table.insert(taken, request)
  end
end
return {version(), unpack(taken)}
"""
)

PUT_SESSION = (
    _PRELUDE
    + """
redis.call('HSET', k .. 'sessions', ARGV[4], ARGV[5])
return {tell('session', ARGV[5])}
"""
)

SWAP_SESSION = (
    _PRELUDE
    + """
local id, before, after = ARGV[4], ARGV[5], ARGV[6]
if redis.call('HGET', k .. 'sessions', id) ~= before then return {version(), 0} end
if after == '' then
  redis.call('HDEL', k .. 'sessions', id)
  return {tell('ended', cjson.encode(id)), 1}
end
redis.call('HSET', k .. 'sessions', id, after)
return {tell('session', after), 1}
"""
)

REVOKE = """
local revoked, channel, told, milliseconds = KEYS[1], ARGV[1], ARGV[2], ARGV[5]
for at, name in ipairs({'expires_at', 'issued_before'}) do
  local known = redis.call('HGET', revoked, name)
  if not known or tonumber(known) < tonumber(ARGV[2 + at]) then redis.call('HSET', revoked, name, ARGV[2 + at]) end
end
if redis.call('PTTL', revoked) < tonumber(milliseconds) then redis.call('PEXPIRE', revoked, milliseconds) end
redis.call('PUBLISH', channel, told)
return 1
"""

SNAPSHOT = """
local k, most, fields = KEYS[1], tonumber(ARGV[1]), 0
local answer = {tonumber(redis.call('GET', k .. 'version') or '0')}
for at = 2, #ARGV do fields = fields + redis.call('HLEN', k .. ARGV[at]) end
if fields > most then return answer end
for at = 2, #ARGV do table.insert(answer, redis.call('HGETALL', k .. ARGV[at])) end
return answer
"""

WRITE = f"""
local k, channel, org, node = KEYS[1], ARGV[2], ARGV[3], ARGV[4]
{_TELL}
local at, answers = 4, {{}}
local function keep(mail, marks, box, last, first, seen, count)
  local have = tonumber(redis.call('HGET', box, 'last') or '0')
  if last <= have then return end
  if last - count > have then redis.call('DEL', mail) end
  for place = 1, count do
    if last - count + place > have then redis.call('RPUSH', mail, ARGV[at + 1 + place]) end
  end
  if last >= first then redis.call('LTRIM', mail, first - last - 1, -1) else redis.call('DEL', mail) end
  redis.call('HSET', box, 'last', string.format('%d', last), 'seen', seen)
  if ARGV[at + 1] ~= '' then
    redis.call('RPUSH', marks, ARGV[at + 1])
    redis.call('LTRIM', marks, -64, -1)
  end
end
local function open(mail, box, tokens, opened, is_new, last)
  if is_new then
    redis.call('DEL', mail)
    redis.call('HSET', box, 'last', string.format('%d', last))
  end
  redis.call('HSET', box, 'tokens', tokens, 'opened', opened)
end
local function forget(user, mail, marks, box)
  redis.call('DEL', mail, marks, box)
  if redis.call('HEXISTS', k .. 'holders', user) == 0 and redis.call('HEXISTS', k .. 'peers', user) == 0 then
    redis.call('HDEL', k .. 'homes', user)
    tell('left', cjson.encode(user))
  end
end
local function is_stale(box, fence, serial)
  local opened = redis.call('HGET', box, 'opened')
  if not opened then return false end
  local by, since = string.match(opened, '(%d+) (%d+)')
  return by == fence and serial <= tonumber(since)
end
for _, write in ipairs(cjson.decode(ARGV[1])) do
  local kind, user, serial = write[1], write[2], write[4]
  local fence = string.format('%d', write[3])
  local mail, marks, box = k .. 'mail:' .. user, k .. 'marks:' .. user, k .. 'box:' .. user
  local answer, home = 1, redis.call('HGET', k .. 'homes', user)
  if not home then
    answer = 2
  elseif string.match(home, ' (%d+)$') ~= fence then
    answer = 0
  elseif is_stale(box, fence, serial) then
    answer = 1
  elseif kind == 'keep' then
    keep(mail, marks, box, write[6], write[5], write[7], write[8])
  elseif kind == 'open' then
    open(mail, box, write[5], fence .. ' ' .. string.format('%d', serial), write[6], write[7])
  else
    forget(user, mail, marks, box)
  end
  if kind == 'keep' then at = at + 1 + write[8] end
  table.insert(answers, answer)
end
return answers
"""
"""What homes write, by their fences; answers 1 for each that was allowed to, 0 where another is the home by now.

An emptied store knows of no home: 2. `ARGV[1]` is a list in JSON; then come the channel, the org and the node, and of
each that is kept its marks and its events. Serial numbers grow with each write of a node, since they may arrive twice:
one from before the last opening of the box is of no use any more.
"""

LOAD_BOX = """
local k, user = KEYS[1], ARGV[1]
local box = redis.call('HMGET', k .. 'box:' .. user, 'tokens', 'last', 'seen')
return {
  box[1],
  box[2],
  box[3],
  redis.call('LRANGE', k .. 'marks:' .. user, 0, -1),
  redis.call('LRANGE', k .. 'mail:' .. user, 0, -1),
}
"""

RENEW = """
local nodes, node, lease = KEYS[1], ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local known = redis.call('ZSCORE', nodes, node)
redis.call('ZADD', nodes, now + lease, node)
redis.call('ZREMRANGEBYSCORE', nodes, '-inf', now - 20 * lease)
return {string.format('%.6f', now), known, redis.call('ZRANGEBYSCORE', nodes, now, '+inf')}
"""

LEAVE = """
return redis.call('ZREM', KEYS[1], ARGV[1])
"""

RESTORE = (
    _PRELUDE
    + """
for at, name in ipairs({'version', 'placed', 'fenced'}) do
  local least = ARGV[3 + at]
  if tonumber(redis.call('GET', k .. name) or '0') < tonumber(least) then redis.call('SET', k .. name, least) end
end
for at = 7, #ARGV, 5 do
  local hash, field, value, kind, about = unpack(ARGV, at, at + 4)
  if redis.call('HSETNX', k .. hash, field, value) == 1 and kind ~= '' then tell(kind, about) end
end
return version()
"""
)
