-- Drops the log of a user whose claim nobody holds. KEYS: state, log.
local node = redis.call('HGET', KEYS[1], 'node')
if node and node ~= '' then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
