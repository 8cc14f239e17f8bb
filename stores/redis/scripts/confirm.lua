-- Forgets the tokens of a log but this one, if it is among them. KEYS: state. ARGV: hash of the token.
local tokens = redis.call('HGET', KEYS[1], 'tokens')
if tokens and string.find(tokens, ARGV[1], 1, true) then redis.call('HSET', KEYS[1], 'tokens', ARGV[1]) end
return 1
