--- Bytes to and from a server: TCP, or `openssl s_client` where the address is wss://.
local uv = vim.uv or vim.loop

local M = {}

local Stream = {}
Stream.__index = Stream

local function shut(handle)
  if handle and not handle:is_closing() then
    handle:close()
  end
end

local function start_reading(stream)
  stream._reads:read_start(function(failure, bytes)
    stream._on.bytes(not failure and bytes or nil)
  end)
end

local function secured(address, on)
  local stream = setmetatable({ _on = on, _reads = uv.new_pipe(false), _writes = uv.new_pipe(false) }, Stream)
  local arguments = {
    "s_client",
    "-quiet",
    "-verify_quiet",
    "-verify_return_error",
    "-verify_hostname",
    address.host,
    "-servername",
    address.host,
    "-connect",
    ("%s:%d"):format(address.host:find(":", 1, true) and "[" .. address.host .. "]" or address.host, address.port),
  }
  local started = { args = arguments, stdio = { stream._writes, stream._reads } }
  local process, failure = uv.spawn("openssl", started, function()
    shut(stream._process)
  end)
  stream._process = process
  if not process then
    vim.schedule(function()
      on.failed("openssl, which wss:// needs, does not start: " .. failure)
    end)
    return stream
  end
  start_reading(stream)
  vim.schedule(on.open)
  return stream
end

local function plain(address, on)
  local stream = setmetatable({ _on = on }, Stream)
  uv.getaddrinfo(address.host, nil, { socktype = "stream" }, function(failure, found)
    if stream._is_closed then
      return
    elseif failure then
      return on.failed(("%s is not known: %s"):format(address.host, failure))
    end
    stream:_try(found, 1, address.port)
  end)
  return stream
end

--- Open a stream to an address. `on.open()`, then `on.bytes(bytes)`, with nil at the end; or `on.failed(why)`.
--- All of them are called where the editor's API must not be.
function M.open(address, on)
  return (address.is_secure and secured or plain)(address, on)
end

--- Send bytes.
function Stream:write(bytes)
  if self._writes and not self._writes:is_closing() then
    self._writes:write(bytes)
  end
end

--- Close; nothing is called any more.
function Stream:close()
  self._is_closed = true
  if self._process and not self._process:is_closing() then
    self._process:kill("sigterm")
  end
  shut(self._reads)
  shut(self._writes)
end

function Stream:_try(found, which, port)
  local tcp = uv.new_tcp()
  self._reads, self._writes = tcp, tcp
  tcp:connect(found[which].addr, port, function(failure)
    if self._is_closed then
      return
    elseif not failure then
      start_reading(self)
      self._on.open()
    elseif found[which + 1] then
      shut(tcp)
      self:_try(found, which + 1, port)
    else
      self._on.failed("no connection: " .. failure)
    end
  end)
end

return M
