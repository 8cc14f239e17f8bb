--- The opening handshake of RFC 6455: what a client asks, and whether the answer fits.
local bit = require("bit")
local band, bnot, bor, bxor, rol, tobit = bit.band, bit.bnot, bit.bor, bit.bxor, bit.rol, bit.tobit

local M = {}

local GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(bytes)
  local text = bytes:gsub("..?.?", function(three)
    local a, b, c = three:byte(1, 3)
    local number = a * 65536 + (b or 0) * 256 + (c or 0)
    local digits = {}
    for place = 0, 3 do
      local digit = math.floor(number / 64 ^ (3 - place)) % 64
      digits[place + 1] = place > #three and "=" or ALPHABET:sub(digit + 1, digit + 1)
    end
    return table.concat(digits)
  end)
  return text
end

local function uint32(number)
  return string.char(
    band(bit.rshift(number, 24), 255),
    band(bit.rshift(number, 16), 255),
    band(bit.rshift(number, 8), 255),
    band(number, 255)
  )
end

local function mixed(turn, b, c, d)
  if turn < 20 then
    return bor(band(b, c), band(bnot(b), d)) + 0x5A827999
  elseif turn < 40 then
    return bxor(b, c, d) + 0x6ED9EBA1
  elseif turn < 60 then
    return bor(band(b, c), band(b, d), band(c, d)) + 0x8F1BBCDC
  end
  return bxor(b, c, d) + 0xCA62C1D6
end

local function words(block)
  local w = {}
  for i = 0, 15 do
    local a, b, c, d = block:byte(i * 4 + 1, i * 4 + 4)
    w[i] = tobit(a * 16777216 + b * 65536 + c * 256 + d)
  end
  for i = 16, 79 do
    w[i] = rol(bxor(w[i - 3], w[i - 8], w[i - 14], w[i - 16]), 1)
  end
  return w
end

local function sha1(text)
  local padding = ("\0"):rep((55 - #text) % 64)
  local padded = text .. "\128" .. padding .. "\0\0\0\0" .. uint32(#text * 8)
  local h = { 0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0 }
  for start = 1, #padded, 64 do
    local w = words(padded:sub(start, start + 63))
    local a, b, c, d, e = h[1], h[2], h[3], h[4], h[5]
    for turn = 0, 79 do
      a, b, c, d, e = tobit(rol(a, 5) + mixed(turn, b, c, d) + e + w[turn]), a, rol(b, 30), c, d
    end
    h = { tobit(h[1] + a), tobit(h[2] + b), tobit(h[3] + c), tobit(h[4] + d), tobit(h[5] + e) }
  end
  return uint32(h[1]) .. uint32(h[2]) .. uint32(h[3]) .. uint32(h[4]) .. uint32(h[5])
end

--- Return the parts of a ws:// or wss:// address; nil and what is wrong with it if it is neither.
function M.parse(url)
  local scheme, authority, path = url:match("^(wss?)://([^/?#]+)([^#]*)")
  if not scheme then
    return nil, ("%s is not an address that begins with ws:// or wss://"):format(url)
  end
  local host, port = authority:match("^%[([^%]]+)%]:?(%d*)$")
  if not host then
    host, port = authority:match("^([^:]+):?(%d*)$")
  end
  if not host then
    return nil, ("%s is not a host with a port"):format(authority)
  end
  return {
    is_secure = scheme == "wss",
    authority = authority,
    host = host,
    port = tonumber(port) or (scheme == "wss" and 443 or 80),
    path = path:sub(1, 1) == "/" and path or "/" .. path,
  }
end

--- Return a Sec-WebSocket-Key made of 16 random bytes.
function M.key(bytes)
  return base64(bytes)
end

--- Return the Sec-WebSocket-Accept that answers a key.
function M.accept(key)
  return base64(sha1(key .. GUID))
end

--- Return the request that opens a WebSocket.
function M.request(address, key)
  return table.concat({
    ("GET %s HTTP/1.1"):format(address.path),
    "Host: " .. address.authority,
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: " .. key,
    "Sec-WebSocket-Version: 13",
    "\r\n",
  }, "\r\n")
end

--- Return nil if the head of a response opens the WebSocket, else why not.
function M.refusal(head, key)
  local status = head:match("^HTTP/1%.1 (%d%d%d)")
  if status ~= "101" then
    return "the server answered HTTP " .. (status or "nothing that is known")
  end
  local accept = head:lower():match("\r\nsec%-websocket%-accept:[ \t]*()")
  if not accept or head:sub(accept):match("^[^\r \t]*") ~= M.accept(key) then
    return "the server's handshake is not one of WebSocket"
  end
  return nil
end

return M
