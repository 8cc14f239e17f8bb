-- Forgets the tokens of a log but this one, if it is the latest. KEYS: state. ARGV: hash of the token.
local tokens = redis.call('HGET', KEYS[1], 'tokens')
if tokens and string.sub(tokens, -#ARGV[1]) == ARGV[1] then redis.call('HSET', KEYS[1], 'tokens', ARGV[1]) end
return 1
