"""Changes of records as Lua scripts, and so atomic. Told to all nodes in the order in which they were made.

`KEYS[1]` is what all keys of the org begin with. `ARGV` begins with the channel of changes, the org as JSON, and the id
of the node that asks. What a script changes is told at once, as a JSON array of arrays: of each change its kind, the
node, the org, the org's version by it, and what it is about. The version grows by one with each change, so that who
missed one notices.
"""

from functools import cache
from hashlib import sha1


@cache
def sha(script: str) -> str:
    """Return the name by which Redis knows a script that it was given."""
    return sha1(script.encode(), usedforsecurity=False).hexdigest()


_TELL = """
local news = {}
local function tell(kind, about)
  local version = redis.call('INCR', k .. 'version')
  local told = kind .. '","' .. node .. '",' .. org .. ',' .. string.format('%d', version) .. ',' .. about
  table.insert(news, '["' .. told .. ']')
end
local function publish()
  if #news > 0 then redis.call('PUBLISH', channel, '[' .. table.concat(news, ',') .. ']') end
end
local function version()
  return tonumber(redis.call('GET', k .. 'version') or '0')
end
"""

VERSION = """
return tonumber(redis.call('GET', KEYS[1] .. 'version') or '0')
"""

CHANGE = (
    """
local k, channel, org, node = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
"""
    + _TELL
    + """
local function put_peer(user, peer)
  local place = redis.call('HGET', k .. 'places', user)
  if not place then
    place = string.format('%d', redis.call('INCR', k .. 'placed'))
    redis.call('HSET', k .. 'places', user, place)
  end
  redis.call('HSET', k .. 'peers', user, peer)
  tell('peer', place .. ',' .. peer)
end
local function remove_peer(user)
  local peer = redis.call('HGET', k .. 'peers', user)
  if not peer then return {} end
  redis.call('HDEL', k .. 'peers', user)
  redis.call('HDEL', k .. 'places', user)
  tell('gone', cjson.encode(user))
  return {peer}
end
local function is_held(user)
  return redis.call('HEXISTS', k .. 'holders', user) == 1
end
local function put_home(user, socket)
  local fence = string.format('%d', redis.call('INCR', k .. 'fenced'))
  redis.call('HSET', k .. 'homes', user, node .. ' ' .. socket .. ' ' .. fence)
  tell('home', cjson.encode(user) .. ',"' .. node .. '",' .. socket .. ',' .. fence)
end
local function is_fence(user, fence)
  local home = redis.call('HGET', k .. 'homes', user)
  return home and string.match(home, ' (%d+)$') == fence
end
local function is_home_since(user, socket, fence)
  local home, now = string.match(redis.call('HGET', k .. 'homes', user) or '', '^(.*) (%d+)$')
  return home == node .. ' ' .. socket and tonumber(now) >= tonumber(fence)
end
local make = {}
function make.claim(user, holder, socket)
  local before = redis.call('HGET', k .. 'holders', user)
  redis.call('HSET', k .. 'holders', user, holder)
  put_home(user, socket)
  return {before}
end
function make.release(user, holder)
  if redis.call('HGET', k .. 'holders', user) ~= holder then return {0} end
  return {redis.call('HDEL', k .. 'holders', user)}
end
function make.adopt(user, fence, holder)
  if is_home_since(user, '0', fence) then return {1} end
  if not is_fence(user, fence) then return {0} end
  if redis.call('HGET', k .. 'holders', user) == holder then redis.call('HDEL', k .. 'holders', user) end
  put_home(user, '0')
  return {1}
end
function make.reclaim(user, fence, holder, socket)
  if is_home_since(user, socket, fence) then return {1} end
  if not is_fence(user, fence) then return {0} end
  redis.call('HSET', k .. 'holders', user, holder)
  put_home(user, socket)
  return {1}
end
function make.register(user, holder, peer)
  if redis.call('HGET', k .. 'holders', user) ~= holder then return {0} end
  put_peer(user, peer)
  return {1}
end
function make.put_peer(user, peer)
  put_peer(user, peer)
  return {1}
end
function make.put_released_peer(user, peer)
  if is_held(user) then return {0} end
  put_peer(user, peer)
  return {1}
end
function make.remove_released_peer(user)
  if is_held(user) then return {} end
  return remove_peer(user)
end
make.remove_peer = remove_peer
function make.take_lapsed(now, ...)
  local taken = {}
  for _, user in ipairs({...}) do
    local peer = redis.call('HGET', k .. 'peers', user)
    local lapses_at = peer and cjson.decode(peer)['lapses_at']
    if type(lapses_at) == 'number' and lapses_at <= tonumber(now) then
      remove_peer(user)
      table.insert(taken, peer)
    end
  end
  return taken
end
function make.add_request(id, request)
  redis.call('HSET', k .. 'requests', id, request)
  tell('request', request)
  return {1}
end
function make.take_requests(...)
  local taken = {}
  for _, id in ipairs({...}) do
    local request = redis.call('HGET', k .. 'requests', id)
    if request then
      redis.call('HDEL', k .. 'requests', id)
      tell('taken', cjson.encode(id))
      table.insert(taken, request)
    end
  end
  return taken
end
function make.put_session(id, session)
  redis.call('HSET', k .. 'sessions', id, session)
  tell('session', session)
  return {1}
end
local function added_to(before, found)
  if not found or string.sub(found, 1, #before - 1) ~= string.sub(before, 1, -2) then return nil end
  return string.match(string.sub(found, #before), '^[,}].*')
end
function make.swap_session(id, before, after)
  local added = added_to(before, redis.call('HGET', k .. 'sessions', id))
  if not added then return {0} end
  if after == '' then
    redis.call('HDEL', k .. 'sessions', id)
    tell('ended', cjson.encode(id))
  else
    after = string.sub(after, 1, -2) .. added
    redis.call('HSET', k .. 'sessions', id, after)
    tell('session', after)
  end
  return {1}
end
local since = version() - tonumber(ARGV[4])
if since < 0 or since >= 1000000 then return {version(), false} end
local at, answers = 6, {}
for place, change in ipairs(cjson.decode(ARGV[5])) do
  local name, count = change[1], change[2]
  answers[place] = make[name](unpack(ARGV, at, at + count - 1))
  at = at + count
end
publish()
return {version(), answers}
"""
)
"""Changes of an org's records, one after the other; answers the org's version after them, and what each answers.

`ARGV[4]` is which version the node knows: nothing is changed in a store that has lost it, or that others have filled
again since, until the node has done so, too. `ARGV[5]` is a list in JSON
of their names and of how many arguments each has; the arguments follow.
Each may arrive twice, as its answer may be lost: a node that is the home by what it asks for has adopted, or claimed
back, already.

A session to which a newer version has added fields is as before if the others are, and keeps them.
"""

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
local function push(list, from, to)
  local length = 0
  for some = from, to, 1000 do
    length = redis.call('RPUSH', list, unpack(ARGV, some, math.min(some + 999, to)))
  end
  return length
end
local function keep(mail, marks, box, last, first, seen, count)
  local have = tonumber(redis.call('HGET', box, 'last') or '0')
  if last <= have then return 1 end
  if last - count > have then
    if first <= last - count then return 2 end
    redis.call('DEL', mail)
  end
  local length = push(mail, at + 2 + math.max(0, have - last + count), at + 1 + count)
  if last < first then
    redis.call('DEL', mail)
  elseif length > last - first + 1 then
    redis.call('LTRIM', mail, first - last - 1, -1)
  end
  redis.call('HSET', box, 'last', string.format('%d', last), 'seen', seen)
  if ARGV[at + 1] ~= '' then
    redis.call('RPUSH', marks, ARGV[at + 1])
    redis.call('LTRIM', marks, -64, -1)
  end
  return 1
end
local function open(mail, box, tokens, bases, opened, is_new, last)
  if is_new then
    redis.call('DEL', mail)
    redis.call('HSET', box, 'last', string.format('%d', last))
  end
  redis.call('HSET', box, 'tokens', tokens, 'bases', bases, 'opened', opened)
end
local function forget(user, mail, marks, box)
  redis.call('DEL', mail, marks, box)
  if redis.call('HEXISTS', k .. 'holders', user) == 0 and redis.call('HEXISTS', k .. 'peers', user) == 0 then
    redis.call('HDEL', k .. 'homes', user)
    tell('left', cjson.encode(user))
  end
end
local function standing(box, fence, serial)
  local opened = redis.call('HGET', box, 'opened')
  if not opened then return 'open' end
  local by, since = string.match(opened, '(%d+) (%d+)')
  if by ~= fence then return 'foreign' end
  return serial <= tonumber(since) and 'stale' or 'open'
end
for _, write in ipairs(cjson.decode(ARGV[1])) do
  local kind, user, serial = write[1], write[2], write[4]
  local fence = string.format('%d', write[3])
  local mail, marks, box = k .. 'mail:' .. user, k .. 'marks:' .. user, k .. 'box:' .. user
  local answer, home = 1, redis.call('HGET', k .. 'homes', user)
  local known = standing(box, fence, serial)
  if not home then
    answer = 2
  elseif string.match(home, ' (%d+)$') ~= fence then
    answer = 0
  elseif known == 'stale' then
    answer = 1
  elseif kind == 'keep' and known == 'foreign' then
    answer = 2
  elseif kind == 'keep' then
    answer = keep(mail, marks, box, write[6], write[5], write[7], write[8])
  elseif kind == 'open' then
    open(mail, box, write[5], write[6], fence .. ' ' .. string.format('%d', serial), write[7], write[8])
  else
    forget(user, mail, marks, box)
  end
  if kind == 'keep' then at = at + 1 + write[8] end
  table.insert(answers, answer)
end
publish()
return answers
"""
"""What homes write, by their fences; answers 1 for each that was allowed to, 0 where another is the home by now.

What is not done, but will be once all is written anew, is answered with 2: a store that was emptied knows of no home,
and a box that another home opened last, or that lacks what came before an event, does not take it. `ARGV[1]` is a list
in JSON; then come the channel, the org and the node, and of each that is kept its marks and its events. Serial numbers
grow with each write of a node, since they may arrive twice: one from before the last opening of the box is of no use
any more.
"""

LOAD_BOX = """
local k, user = KEYS[1], ARGV[1]
local box = redis.call('HMGET', k .. 'box:' .. user, 'tokens', 'last', 'seen', 'opened', 'bases')
return {
  box[1],
  box[2],
  box[3],
  box[4],
  box[5],
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
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', nodes, '-inf', now - 20 * lease)) do
  redis.call('ZREM', nodes, gone)
  redis.call('HDEL', nodes .. ':settled', gone)
end
return {string.format('%.6f', now), known, redis.call('ZRANGEBYSCORE', nodes, now, '+inf')}
"""

EXCHANGE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) end
return redis.call('GET', KEYS[1])
"""

LEAVE = """
return redis.call('ZREM', KEYS[1], ARGV[1])
"""

REFILL = (
    """
local k, channel, org, node = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local life, loss, is_last, known = ARGV[4], ARGV[5], ARGV[6] == '1', tonumber(ARGV[7])
local beyond, kept = 1000000, 600
local hashes = {'peers', 'holders', 'homes', 'requests', 'sessions'}
local ends = {peers = 'gone', homes = 'left', requests = 'taken', sessions = 'ended'}
"""
    + _TELL
    + """
local now = tonumber(redis.call('TIME')[1])
local function drop_all()
  for _, name in ipairs(hashes) do redis.call('UNLINK', k .. name) end
  redis.call('UNLINK', k .. 'places')
end
local function begin()
  if loss == 'older' and version() < known then drop_all() end
  local below = known + (version() > known and 1 or beyond)
  for at, name in ipairs({'version', 'placed', 'fenced'}) do
    local number = math.max(tonumber(ARGV[6 + at]), tonumber(redis.call('GET', k .. name) or '0'))
    redis.call('SET', k .. name, string.format('%d', number + beyond))
  end
  redis.call('DEL', k .. 'filled')
  for _, name in ipairs(hashes) do redis.call('UNLINK', k .. 'filled:' .. name) end
  local about = {'life', life, 'below', string.format('%d', below), 'least', ARGV[7], 'until', now + kept - 60}
  redis.call('HSET', k .. 'filled', unpack(about))
end
local is_begun = redis.call('HGET', k .. 'filled', 'life') == life
if not is_begun and (loss ~= 'unknown' or version() <= known) then
  begin()
  is_begun = true
end
local below, least, most, till = unpack(redis.call('HMGET', k .. 'filled', 'below', 'least', 'most', 'until'))
local is_ahead = is_begun and known > tonumber(most or '-1') and known < tonumber(below) and now < tonumber(till)
if is_ahead and known < tonumber(least) then redis.call('HSET', k .. 'filled', 'least', ARGV[7]) end
local function fence(home) return tonumber(string.match(home, '%d+$')) end
local function was_filled(hash, field)
  return is_begun and redis.call('HEXISTS', k .. 'filled:' .. hash, field) == 1
end
local function is_missing(hash, field, found, value, about)
  if hash == 'homes' and found then return fence(value) > fence(found) end
  if found or was_filled(hash, field) then return false end
  return hash ~= 'holders' or redis.call('HGET', k .. 'homes', field) == about
end
local function is_as_written(hash, field, found)
  local by, digest = string.match(redis.call('HGET', k .. 'filled:' .. hash, field) or '', '^(%d+) (%x+)$')
  return by and tonumber(by) < known and digest == redis.sha1hex(found)
end
local function is_outdated(hash, field, found)
  if not is_ahead or not found or not is_as_written(hash, field, found) then return false end
  local home = hash == 'peers' and redis.call('HGET', k .. 'homes', field)
  return not home or is_as_written('homes', field, home)
end
local function is_at_home(hash, field)
  local home = hash == 'peers' and redis.call('HGET', k .. 'homes', field)
  return home and string.match(home, '^%S+') == node
end
local function write(hash, field, value, kind, about, is_own)
  local found = redis.call('HGET', k .. hash, field)
  local is_due = is_missing(hash, field, found, value, about) or is_outdated(hash, field, found)
  if is_due or (found and is_own and is_at_home(hash, field)) then
    if hash == 'peers' then redis.call('HSET', k .. 'places', field, string.match(about, '^%d+')) end
    if found ~= value then
      redis.call('HSET', k .. hash, field, value)
      if hash == 'homes' then redis.call('HDEL', k .. 'holders', field) end
      if hash == 'homes' then redis.call('HDEL', k .. 'filled:holders', field) end
      if kind ~= '' then tell(kind, about) end
    end
  end
  if is_ahead then redis.call('HSET', k .. 'filled:' .. hash, field, ARGV[7] .. ' ' .. redis.sha1hex(value)) end
end
local function drop_outdated(hash)
  for _, field in ipairs(redis.call('HKEYS', k .. 'filled:' .. hash)) do
    if is_outdated(hash, field, redis.call('HGET', k .. hash, field)) then
      redis.call('HDEL', k .. hash, field)
      if hash == 'peers' then redis.call('HDEL', k .. 'places', field) end
      if ends[hash] then tell(ends[hash], cjson.encode(field)) end
    end
  end
end
for at = 10, #ARGV, 6 do
  local hash, field, value, kind, about, is_own = unpack(ARGV, at, at + 5)
  if is_ahead or is_own == '1' then write(hash, field, value, kind, about, is_own == '1') end
end
if is_ahead then
  for _, name in ipairs(hashes) do
    if is_last and tonumber(least) < known then drop_outdated(name) end
    redis.call('EXPIRE', k .. 'filled:' .. name, kept)
  end
  if is_last then redis.call('HSET', k .. 'filled', 'most', ARGV[7]) end
end
publish()
return version()
"""
)
"""Fills a store that has lost something with what one node knows of an org, by the version up to which it does.

Who knows more than those who filled it before replaces what these wrote, unless that has changed since; who does not
adds but what is its own: its users, of whom it knows best. What was written is known by its digest for a while; a peer
that came back may look as before, but has another home. What was not there is added, unless it was filled in before and
has gone since, and of two homes of a user the later stays; a holder goes with its home.

A store that was not emptied, but is as it was some time ago, is emptied by the first to fill it in this life; not if it
has gone on from there beyond what that node knows. Then who knows of more may have it from there, and counts for less.
A node that knows less than is there, and has not found itself that something is lost, is not the first.

Numbers begin a million beyond those that the node knows, since others may know of more: of changes that were told, or
of homes. Else these would have the same numbers as new ones. Who knows of such a version has read what was filled in.
"""
