--- The command :PeerSync, its subcommands and their completion.
local M = {}

local function peers(wanted)
  local client = require("peersync").client()
  if not client then
    return {}
  end
  local among = wanted == "requests" and client.requests or client.peers
  local ids = vim.tbl_keys(among)
  if wanted == "sessions" then
    ids = vim.tbl_filter(function(id)
      return client:session(id) ~= nil
    end, ids)
  end
  table.sort(ids)
  return ids
end

local function rest(command)
  return command.args:match("^%S+%s+(.-)%s*$")
end

local function named(act, wanted)
  return {
    run = function(command)
      require("peersync")[act](rest(command))
    end,
    wanted = wanted,
  }
end

M.subcommands = {
  connect = named("connect"),
  disconnect = named("disconnect"),
  peers = named("peers"),
  talk = named("talk"),
  accept = named("accept", "requests"),
  reject = named("reject", "requests"),
  leave = named("leave", "sessions"),
  request = {
    run = function(command)
      local peer = rest(command)
      if peer then
        require("peersync").request(peer)
      else
        require("peersync").peers()
      end
    end,
    wanted = "peers",
  },
  send = {
    run = function(command)
      require("peersync").send_lines(command.line1, command.line2, rest(command))
    end,
    wanted = "sessions",
  },
  say = {
    run = function(command)
      require("peersync").say(rest(command) or "")
    end,
  },
}

local function beginning(with, words)
  return vim.tbl_filter(function(word)
    return vim.startswith(word, with)
  end, words)
end

--- Return what may follow on the command line.
function M.complete(lead, line)
  local subcommand = line:match("PeerSync!?%s+(%S+)%s")
  if not subcommand then
    local names = vim.tbl_keys(M.subcommands)
    table.sort(names)
    return beginning(lead, names)
  end
  local found = M.subcommands[subcommand]
  return found and found.wanted and beginning(lead, peers(found.wanted)) or {}
end

--- Do what the user typed.
function M.run(command)
  local subcommand = M.subcommands[command.fargs[1]]
  if subcommand then
    subcommand.run(command)
  else
    local text = "PeerSync: there is no %s; there are %s"
    local names = table.concat(M.complete("", "PeerSync "), ", ")
    vim.notify(text:format(command.fargs[1], names), vim.log.levels.ERROR)
  end
end

return M
