--- Frames of RFC 6455: written masked, as a client must; read whole, fragments joined.
local bit = require("bit")

local M = { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 }

local CONTINUATION = 0
local PIECE = 4096
local KNOWN = { [CONTINUATION] = true, [M.TEXT] = true, [M.BINARY] = true, [8] = true, [9] = true, [10] = true }

local function masked(payload, mask)
  local key = { mask:byte(1, 4) }
  local pieces = {}
  for start = 1, #payload, PIECE do
    local bytes = { payload:byte(start, start + PIECE - 1) }
    for i = 1, #bytes do
      bytes[i] = string.char(bit.bxor(bytes[i], key[(i - 1) % 4 + 1]))
    end
    pieces[#pieces + 1] = table.concat(bytes)
  end
  return table.concat(pieces)
end

local function big_endian(number, count)
  local bytes = {}
  for place = count, 1, -1 do
    bytes[place] = string.char(number % 256)
    number = math.floor(number / 256)
  end
  return table.concat(bytes)
end

local function number_of(bytes)
  local number = 0
  for i = 1, #bytes do
    number = number * 256 + bytes:byte(i)
  end
  return number
end

--- Return a frame, masked with four bytes that should be random.
function M.encode(opcode, payload, mask)
  local size = #payload
  local length
  if size < 126 then
    length = string.char(128 + size)
  elseif size < 65536 then
    length = string.char(128 + 126) .. big_endian(size, 2)
  else
    length = string.char(128 + 127) .. big_endian(size, 8)
  end
  return string.char(128 + opcode) .. length .. mask .. masked(payload, mask)
end

--- Return the payload of a close frame.
function M.close_payload(code)
  return big_endian(code, 2)
end

--- Return the code of a close frame's payload; 1005 if it has none.
function M.close_code(payload)
  return #payload >= 2 and number_of(payload:sub(1, 2)) or 1005
end

local Reader = {}
Reader.__index = Reader

--- Return what makes frames of the bytes that come. It refuses messages of more than `limit` bytes.
function M.reader(limit)
  return setmetatable({ _limit = limit, _pieces = {}, _bytes = 0, _needs = 2 }, Reader)
end

--- Take bytes as they come.
function Reader:feed(bytes)
  self._pieces[#self._pieces + 1] = bytes
  self._bytes = self._bytes + #bytes
end

--- Return the opcode and payload of the next frame or joined message; nil if it has not all come.
--- A breach of RFC 6455 is returned as nil, the code to close with, and the reason.
function Reader:next()
  while self._bytes >= self._needs do
    local opcode, payload, why = self:_frame()
    if why then
      return nil, payload, why
    elseif opcode and opcode >= M.CLOSE then
      return opcode, payload
    elseif opcode then
      local kind, whole, reason = self:_joined(opcode, payload)
      if kind or reason then
        return kind, whole, reason
      end
    end
  end
  return nil
end

local function violation(first, second, size)
  local opcode = first % 16
  if math.floor(first / 16) % 8 ~= 0 then
    return "a reserved bit is set"
  elseif not KNOWN[opcode] then
    return "a reserved opcode"
  elseif second >= 128 then
    return "a server's frames are not masked"
  elseif opcode >= M.CLOSE and (first < 128 or size > 125) then
    return "a control frame is whole and short"
  end
  return nil
end

function Reader:_frame()
  local data = table.concat(self._pieces)
  self._pieces = { data }
  local first, second = data:byte(1, 2)
  local size = second % 128
  local why = violation(first, second, size)
  if why then
    return nil, 1002, why
  end
  local head = size == 126 and 4 or size == 127 and 10 or 2
  if #data < head then
    self._needs = head
    return nil
  end
  size = head > 2 and number_of(data:sub(3, head)) or size
  if size > self._limit then
    return nil, 1009, "a message is too large"
  end
  if #data < head + size then
    self._needs = head + size
    return nil
  end
  self._pieces, self._bytes, self._needs = { data:sub(head + size + 1) }, #data - head - size, 2
  self._is_final = first >= 128
  return first % 16, data:sub(head + 1, head + size)
end

function Reader:_joined(opcode, payload)
  if (opcode == CONTINUATION) ~= (self._kind ~= nil) then
    return nil, 1002, "a fragment out of place"
  end
  self._kind = self._kind or opcode
  self._message = (self._message or "") .. payload
  if #self._message > self._limit then
    return nil, 1009, "a message is too large"
  elseif not self._is_final then
    return nil
  end
  local kind, message = self._kind, self._message
  self._kind, self._message = nil, nil
  return kind, message
end

return M
