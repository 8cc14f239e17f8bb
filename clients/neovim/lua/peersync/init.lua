--- PeerSync for Neovim: see who is there, agree on a session, send the selection, read what arrives.
local Client = require("peersync.client")
local token = require("peersync.token")
local view = require("peersync.view")

local M = {}

local defaults = { url = "ws://127.0.0.1:3000/ws", role = "guest" }
local options = defaults
local client

local GOODBYE_MS = 1000

local function say(text)
  view.say({ os.date("%H:%M ") .. (text:gsub("%c", " ")) })
end

local function shown(from, content, kind)
  local name = os.date("%H:%M ") .. client:name(from)
  view.say(view.message_lines(name, content, kind))
end

local function changed()
  view.refresh_peers(client)
end

local function made()
  return Client.new({
    url = options.url,
    token = token.source(options),
    profile = { displayName = options.display_name, ide = "neovim", role = options.role },
  }, { tell = say, message = shown, changed = changed })
end

local function connected()
  if not client then
    say("Not connected: :PeerSync connect")
  end
  return client
end

--- Set `url`, `token`, `token_command`, `display_name`, `role`; what is left out stays as it was by default.
function M.setup(given)
  local environment = { url = vim.env.PEERSYNC_URL }
  options = vim.tbl_extend("force", defaults, environment, given or {})
end

--- Connect to the server, and stay connected.
function M.connect()
  view.open_talk()
  if not client or client.status == "offline" then
    client = made()
  end
  client:connect()
end

--- Leave: the others are told, sessions end.
function M.disconnect()
  if connected() then
    client:disconnect()
  end
end

--- Return the client, for scripts and status lines; nil before the first `connect`.
function M.client()
  return client
end

--- Ask a peer for a session.
function M.request(peer)
  if connected() and client:send("CONNECTION_REQUEST", { targetId = peer }) then
    say(("Asked %s"):format(client:name(peer)))
  end
end

local function answer(peer, accepted)
  if not connected() then
    return
  end
  local asking = vim.tbl_keys(client.requests)
  if not peer and #asking > 1 then
    return say("More than one asks: name the peer")
  end
  peer = peer or asking[1]
  local request = peer and client.requests[peer]
  if not request then
    return say("Nobody asks")
  elseif client:send("CONNECTION_RESPONSE", { requestId = request.requestId, accepted = accepted }) then
    client.requests[peer] = nil
    changed()
  end
end

--- Accept what a peer asks, or what the only one who asks does.
function M.accept(peer)
  answer(peer, true)
end

--- Reject what a peer asks, or what the only one who asks does.
function M.reject(peer)
  answer(peer, false)
end

local function in_session(peer, send)
  if not connected() then
    return
  end
  local session, why = client:session(peer)
  if session then
    send(session)
  else
    say(why)
  end
end

local function file_name()
  local name = vim.fn.expand("%:.")
  return vim.startswith(name, "/") and vim.fn.expand("%:t") or name
end

--- Send lines of the current buffer, or a part of them, to the session with `peer`, or to the only session.
function M.send_lines(first, last, peer)
  local lines = vim.api.nvim_buf_get_lines(0, first - 1, last, false)
  local text = table.concat(lines, "\n")
  local content = { language = vim.bo.filetype, file = file_name(), line = first, text = text }
  in_session(peer, function(session)
    if client:say(session, "code", content) then
      view.say(view.message_lines(os.date("%H:%M ") .. "You", content))
    end
  end)
end

--- Send a line of chat to the session with `peer`, or to the only session.
function M.say(text, peer)
  in_session(peer, function(session)
    if client:say(session, "chat", text) then
      view.say(view.message_lines(os.date("%H:%M ") .. "You", text))
    end
  end)
end

--- Leave the session with `peer`, or the only one.
function M.leave(peer)
  in_session(peer, function(session)
    client:leave(session)
  end)
end

--- Show who is there: <CR> asks, a accepts, x rejects, q closes.
function M.peers()
  if connected() then
    view.open_peers(client, { ["<CR>"] = M.request, a = M.accept, x = M.reject })
  end
end

--- Say goodbye before the editor ends, and wait a moment for it to arrive.
function M.quit()
  if client and client.status == "online" then
    local is_done = false
    client:disconnect(function()
      is_done = true
    end)
    vim.wait(GOODBYE_MS, function()
      return is_done
    end, 5)
  end
end

M.talk = view.open_talk

M.setup()

return M
