--- Whether and when to come back, by the code of a close or of a refusal.
local M = {}

local STOP = {
  [1000] = "the server said goodbye",
  [1002] = "a bug of this plugin: it broke the WebSocket protocol",
  [1007] = "a bug of this plugin: it sent what is not UTF-8",
  [1009] = "the message was larger than the server takes",
  [4002] = "you connected from elsewhere; :PeerSync connect takes over again",
}
local RENEW = { [4001] = true, [4003] = true }
local PASSING = { ERR_5004 = true, ERR_9001 = true, ERR_9002 = true }
local FIRST_MS, MOST_MS, RATE_LIMITED = 1000, 15000, 4029

--- Return why a connection that was closed with this code is not to be opened again by itself; nil if it is.
function M.stops(code)
  return STOP[code]
end

--- Return whether another token is needed first.
function M.needs_token(code)
  return RENEW[code] == true
end

--- Return whether trying again may mend what was refused with this code.
function M.is_passing(code)
  return PASSING[code] == true
end

--- Return the milliseconds to wait: between half and all of a time that doubles with each attempt that failed.
function M.pause(attempt, code, random)
  local most = code == RATE_LIMITED and MOST_MS or math.min(MOST_MS, FIRST_MS * 2 ^ attempt)
  return math.floor(most * (0.5 + random / 2))
end

return M
