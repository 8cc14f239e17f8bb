-- Revokes tokens until a moment, and tells the other nodes by the change stream. Of several the latest times count.
-- KEYS: changes, the revocation. ARGV: node, length of the stream, expires_at, issued_before, milliseconds, row.
for at, name in ipairs({'expires_at', 'issued_before'}) do
  local known = redis.call('HGET', KEYS[2], name)
  if not known or tonumber(known) < tonumber(ARGV[2 + at]) then redis.call('HSET', KEYS[2], name, ARGV[2 + at]) end
end
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[5]) then redis.call('PEXPIRE', KEYS[2], ARGV[5]) end
local latest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local entry = {'before', latest and latest[1] or '0-0', 'node', ARGV[1], 'serial', '', 'kind', 'revoked', 'field', '', 'row', ARGV[6]}
return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'place', 0, unpack(entry))
