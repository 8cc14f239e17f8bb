-- Forgets the tokens of a log that are older than this one. KEYS: state. ARGV: hash of the token.
local tokens = redis.call('HGET', KEYS[1], 'tokens') or ''
local at = string.find(tokens, ARGV[1], 1, true)
if at then redis.call('HSET', KEYS[1], 'tokens', string.sub(tokens, at)) end
return 1
