--- One user's connection to a server: who is there, who asks, which sessions there are. Comes back after a drop.
local comeback = require("peersync.comeback")
local content = require("peersync.content")
local websocket = require("peersync.websocket")
local uv = vim.uv or vim.loop

local M = {}

local VERSION = "0.1.0"
local GOODBYE = 1000
local HEARTBEAT_MS = 30000
local ENDED = {
  cancelled = "%s no longer asks",
  expired = "The request of %s has expired",
  offline = "%s is gone, and no longer asks",
}

local Client = {}
Client.__index = Client

--- Return a client that is not connected yet.
--- `options`: `url`, `profile` (PEER_REGISTER's data), and `token`, a function that is given what to call with the
--- token, or with nil and what is wrong. `on`: `tell(text)`, `message(from, content, kind)`, `changed()`.
function M.new(options, on)
  return setmetatable({
    status = "offline",
    peers = {},
    requests = {},
    sessions = {},
    _enveloping = {},
    _options = options,
    _on = on,
    _attempt = 0,
  }, Client)
end

--- Return an event as it is sent.
local function frame(event, data)
  return vim.json.encode({ event = event, data = data or vim.empty_dict() })
end

--- Return what JSON says; the editor's slower reader takes what the strict one does not, such as half an emoji.
local function decoded(text)
  local is_good, value = pcall(vim.json.decode, text)
  if not is_good then
    is_good, value = pcall(vim.fn.json_decode, text)
  end
  return is_good and type(value) == "table" and value or nil
end

--- Connect, and stay connected until `disconnect`.
function Client:connect()
  self._is_wanted, self._attempt = true, 0
  if self.status == "offline" or self.status == "waiting" then
    self:_connect()
  end
end

--- Leave; `done()` is called when the server has been told.
function Client:disconnect(done)
  self._is_wanted, self._search, self._done = false, nil, done
  self:_stop_waiting()
  if self._socket then
    self._is_leaving = true
    self._socket:close(GOODBYE)
  else
    self:_forget()
  end
end

--- Send an event; false, after telling, if there is no connection.
function Client:send(event, data)
  if self.status == "online" and self._socket:send(frame(event, data)) then
    return true
  end
  self._on.tell("Not connected: :PeerSync connect")
  return false
end

--- Send code or a text to a session, in an envelope if somebody there reads nothing else.
function Client:say(session, kind, said)
  for _, id in ipairs(self:others(session)) do
    if self._enveloping[id] then
      said, kind = content.enveloped(said)
      break
    end
  end
  return self:send("SEND_MESSAGE", { sessionId = session.id, type = kind, content = said })
end

--- Return how a user is called.
function Client:name(id)
  local peer = self.peers[id]
  for _, session in pairs(self.sessions) do
    peer = peer or session.participants[id]
  end
  local name = peer and peer.profile and peer.profile.displayName or id
  return (name:gsub("%c", " "))
end

--- Leave a session.
function Client:leave(session)
  if self:send("SESSION_LEAVE", { sessionId = session.id }) then
    self.sessions[session.id] = nil
    self._on.tell("Left the session with " .. self:_names(session))
    self._on.changed()
  end
end

--- Return the ids of the others in a session, in order.
function Client:others(session)
  local ids = vim.tbl_filter(function(id)
    return id ~= self.me
  end, vim.tbl_keys(session.participants))
  table.sort(ids)
  return ids
end

--- Return the session with this peer, or the only one if no peer is named; nil and why if that is none.
function Client:session(peer)
  local found = vim.tbl_filter(function(session)
    return not peer or session.participants[peer] ~= nil
  end, vim.tbl_values(self.sessions))
  if #found == 1 then
    return found[1]
  elseif #found == 0 then
    return nil, peer and "No session with " .. self:name(peer) or "No session: :PeerSync request PEER"
  end
  return nil, "More than one session: name the peer"
end

function Client:_connect()
  self:_stop_waiting()
  self.status = "connecting"
  self._on.changed()
  local search = {}
  self._search = search
  self._options.token(function(token, wrong)
    if self._search ~= search then
      return
    elseif not token then
      self:_give_up(wrong)
    elseif token == self._refused then
      self:_give_up("The server does not take this token (any more): get a new one, then :PeerSync connect")
    else
      self:_open(token)
    end
  end)
end

function Client:_open(token)
  self._token = token
  self._socket = websocket.connect(self._options.url, {
    open = function()
      local client = { name = "peersync.nvim", version = VERSION }
      self._socket:send(frame("AUTH", { token = token, capabilities = { "sessions" }, client = client }))
    end,
    message = function(text)
      self:_handle(text)
    end,
    close = function(code, reason)
      self:_closed(code, reason)
    end,
  })
end

function Client:_closed(code, reason)
  self:_stop_waiting()
  self._socket = nil
  if self._is_leaving then
    return self:_left()
  end
  self._refused = comeback.needs_token(code) and self._token or nil
  if comeback.stops(code) then
    return self:_give_up("Disconnected: " .. comeback.stops(code))
  end
  self:_wait(code, reason)
end

function Client:_left()
  self._is_leaving = false
  self._on.tell("Disconnected")
  self:_forget()
  if self._is_wanted then
    self:_connect()
  end
end

function Client:_wait(code, reason)
  local pause = comeback.pause(self._attempt, code, math.random())
  self._attempt = self._attempt + 1
  self.status = "waiting"
  self._on.tell(("Connection lost (%d %s); again in %.1f s"):format(code, reason, pause / 1000))
  self:_after(pause, function()
    self:_connect()
  end)
  self._on.changed()
end

function Client:_after(milliseconds, act)
  self:_stop_waiting()
  local timer = uv.new_timer()
  self._timer = timer
  local function fire()
    if self._timer == timer then
      self:_stop_waiting()
      act()
    end
  end
  timer:start(milliseconds, 0, vim.schedule_wrap(fire))
end

function Client:_stop_waiting()
  if self._timer then
    self._timer:close()
    self._timer = nil
  end
end

--- Ask for a sign of life; a connection that brought none since the last time is cut.
function Client:_stay()
  if self._awaits_pong then
    return self._socket:cut("no sign of life")
  end
  self._awaits_pong = true
  self:send("PING")
  self:_after(HEARTBEAT_MS, function()
    self:_stay()
  end)
end

function Client:_give_up(why)
  self._is_wanted, self._refused = false, nil
  self._on.tell(why)
  self:_forget()
end

function Client:_forget()
  self.status, self.peers, self.requests, self.sessions = "offline", {}, {}, {}
  self._on.changed()
  local done = self._done
  self._done = nil
  if done then
    done()
  end
end

function Client:_handle(text)
  local event = decoded(text)
  local handle = event and M.handlers[event.event]
  if handle then
    handle(self, event.data)
    self._on.changed()
  end
end

function Client:_join(id, participants)
  local session = { id = id, participants = {} }
  for _, participant in ipairs(participants) do
    session.participants[participant.id] = participant
  end
  self.sessions[id] = session
  return session
end

function Client:_names(session)
  return table.concat(
    vim.tbl_map(function(id)
      return self:name(id)
    end, self:others(session)),
    ", "
  )
end

--- What is done about an event of the server.
M.handlers = {
  AUTH_SUCCESS = function(self, data)
    self.me = data.userId
    self._socket:send(frame("PEER_REGISTER", self._options.profile))
  end,

  AUTH_FAILED = function(self, data)
    self._on.tell("The server does not take the token: " .. data.message)
  end,

  PEER_REGISTERED = function(self, data)
    self.status, self._attempt, self._awaits_pong = "online", 0, false
    self:_after(HEARTBEAT_MS, function()
      self:_stay()
    end)
    self._on.tell("Connected as " .. data.profile.displayName)
    self:send("DISCOVER_PEERS")
    self:send("SESSION_LIST")
  end,

  PEERS_LIST = function(self, data)
    self.peers = {}
    for _, peer in ipairs(data.peers) do
      self.peers[peer.id] = peer
    end
  end,

  PEER_STATUS_UPDATE = function(self, data)
    self.peers[data.id] = data.status ~= "offline" and data or nil
  end,

  SESSIONS = function(self, data)
    local before = self.sessions
    self.sessions = {}
    for _, session in ipairs(data.sessions) do
      self:_join(session.sessionId, session.participants)
    end
    for id, session in pairs(before) do
      if not self.sessions[id] then
        self._on.tell(("The session with %s ended meanwhile"):format(self:_names(session)))
      end
    end
  end,

  CONNECTION_REQUEST_RECEIVED = function(self, data)
    local id = data.from.id
    self.peers[id] = self.peers[id] or data.from
    self.requests[id] = data
    local text = "%s asks for a session: `:PeerSync accept %s` or `:PeerSync reject %s`"
    self._on.tell(text:format(self:name(id), id, id))
  end,

  CONNECTION_CANCELLED = function(self, data)
    for id, request in pairs(self.requests) do
      if request.requestId == data.requestId then
        self.requests[id] = nil
        self._on.tell((ENDED[data.reason] or ENDED.cancelled):format(self:name(id)))
      end
    end
  end,

  CONNECTION_ACCEPTED = function(self, data)
    self:_join(data.sessionId, { data.peer })
    self._on.tell(self:name(data.peer.id) .. " accepted")
  end,

  CONNECTION_REJECTED = function(self, data)
    self._on.tell(("%s did not accept%s"):format(self:name(data.targetId), data.reason and ": " .. data.reason or ""))
  end,

  SESSION_CREATED = function(self, data)
    local request = self.requests[data.peer.id]
    if request and not request.sessionId then -- asking a peer that has asked accepts its request
      self.requests[data.peer.id] = nil
    end
    self:_join(data.sessionId, { data.peer })
    self._on.tell("In session with " .. self:name(data.peer.id))
  end,

  SESSION_UPDATED = function(self, data)
    local session = self:_join(data.sessionId, data.participants)
    local change = data.change
    if change.id ~= self.me and (change.kind ~= "joined" or #self:others(session) > 1) then
      self._on.tell(("%s: %s"):format(self:name(change.id), change.kind))
    end
  end,

  SESSION_ENDED = function(self, data)
    local session = self.sessions[data.sessionId]
    if session then
      self._on.tell(("The session with %s is over: %s"):format(self:_names(session), data.reason))
      self.sessions[data.sessionId] = nil
    end
  end,

  PONG = function(self)
    self._awaits_pong = false
  end,

  MESSAGE_RECEIVED = function(self, data)
    local said, kind, has_envelope = content.read(data)
    self._enveloping[data.from] = has_envelope or nil
    self._on.message(data.from, said, kind)
  end,

  ERROR = function(self, data)
    self._on.tell(("The server refuses (%s): %s"):format(data.code, data.message))
    if self.status == "connecting" and comeback.is_passing(data.code) then
      self._socket:cut("not let in for now")
    end
  end,
}

return M
