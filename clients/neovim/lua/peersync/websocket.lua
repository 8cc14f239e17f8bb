--- A WebSocket client (RFC 6455) over the editor's own event loop.
local frames = require("peersync.frames")
local handshake = require("peersync.handshake")
local stream = require("peersync.stream")
local uv = vim.uv or vim.loop

local M = {}

local LIMIT = 64 * 1024 * 1024
local HEAD_LIMIT = 16 * 1024
local OPEN_MS, CLOSE_MS = 10000, 2000
local BROKEN = 1006

local Socket = {}
Socket.__index = Socket

--- Connect to a ws:// or wss:// address.
--- `on.open()`, `on.message(text)` and, once and last, `on.close(code, reason)` are called in the editor's main loop;
--- the code is 1006 if there was no close frame.
function M.connect(url, on)
  local socket = setmetatable({ _on = on, _head = "", _reader = frames.reader(LIMIT) }, Socket)
  local address, wrong = handshake.parse(url)
  if not address then
    socket:_end(BROKEN, wrong)
    return socket
  end
  socket._key = handshake.key(uv.random(16))
  socket:_end_in(OPEN_MS, "no answer from the server")
  socket._stream = stream.open(address, {
    open = function()
      socket._stream:write(handshake.request(address, socket._key))
    end,
    bytes = function(bytes)
      socket:_take(bytes)
    end,
    failed = function(why)
      socket:_end(BROKEN, why)
    end,
  })
  return socket
end

--- Send a text message; false if the socket is not open.
function Socket:send(text)
  if not self._is_open or self._says_goodbye then
    return false
  end
  self:_write(frames.TEXT, text)
  return true
end

--- Begin to close with a code; `on.close` follows.
function Socket:close(code)
  if not self._is_open then
    self:_end(code, "closed")
  elseif not self._says_goodbye then
    self._says_goodbye = true
    self:_write(frames.CLOSE, frames.close_payload(code))
    self:_end_in(CLOSE_MS, "closed", code)
  end
end

--- Close without a word.
function Socket:cut(why)
  self:_end(BROKEN, why)
end

function Socket:_write(opcode, payload)
  self._stream:write(frames.encode(opcode, payload, uv.random(4)))
end

function Socket:_take(bytes)
  if self._is_over then
    return
  elseif not bytes then
    self:_end(BROKEN, self._is_open and "the connection broke" or "the server closed without an answer")
  elseif self._is_open then
    self._reader:feed(bytes)
    self:_read()
  else
    self:_greet(bytes)
  end
end

function Socket:_greet(bytes)
  self._head = self._head .. bytes
  local _, last = self._head:find("\r\n\r\n", 1, true)
  if not last then
    if #self._head > HEAD_LIMIT then
      self:_end(BROKEN, "the server's answer is too long")
    end
    return
  end
  local refusal = handshake.refusal(self._head:sub(1, last), self._key)
  if refusal then
    return self:_end(BROKEN, refusal)
  end
  self._is_open = true
  self._timer:stop()
  vim.schedule(self._on.open)
  self:_take(self._head:sub(last + 1))
end

function Socket:_read()
  while not self._is_over do
    local opcode, payload, why = self._reader:next()
    if why then
      self:_write(frames.CLOSE, frames.close_payload(payload))
      return self:_end(payload, why)
    elseif not opcode then
      return
    end
    self:_handle(opcode, payload)
  end
end

function Socket:_handle(opcode, payload)
  if opcode == frames.CLOSE then
    if not self._says_goodbye then
      self:_write(frames.CLOSE, payload:sub(1, 2))
    end
    self:_end(frames.close_code(payload), payload:sub(3))
  elseif opcode == frames.PING then
    self:_write(frames.PONG, payload)
  elseif opcode == frames.TEXT then
    vim.schedule(function()
      self._on.message(payload)
    end)
  end
end

function Socket:_end_in(milliseconds, why, code)
  self._timer = self._timer or uv.new_timer()
  self._timer:start(milliseconds, 0, function()
    self:_end(code or BROKEN, why)
  end)
end

function Socket:_end(code, why)
  if self._is_over then
    return
  end
  self._is_over, self._is_open = true, false
  if self._timer then
    self._timer:close()
  end
  if self._stream then
    self._stream:close()
  end
  vim.schedule(function()
    self._on.close(code, why)
  end)
end

return M
