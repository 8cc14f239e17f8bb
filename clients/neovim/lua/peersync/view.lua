--- The two buffers that a user sees: what was said, and who is there.
local M = {}

local TALK, PEERS = "peersync://talk", "peersync://peers"
local TALK_LINES = 12

local function buffer(name, filetype)
  local number = vim.fn.bufadd(name)
  if vim.bo[number].buftype ~= "nofile" then
    vim.fn.bufload(number)
    vim.bo[number].buftype = "nofile"
    vim.bo[number].bufhidden = "hide"
    vim.bo[number].swapfile = false
    vim.bo[number].modifiable = false
    vim.bo[number].filetype = filetype
  end
  return number
end

local function written(number, first, last, lines)
  vim.bo[number].modifiable = true
  vim.api.nvim_buf_set_lines(number, first, last, false, lines)
  vim.bo[number].modifiable = false
end

local function window_of(number)
  local window = vim.fn.bufwinid(number)
  return window ~= -1 and window or nil
end

local function split(command, number)
  local back = vim.api.nvim_get_current_win()
  vim.cmd(command)
  local window = vim.api.nvim_get_current_win()
  vim.api.nvim_win_set_buf(window, number)
  vim.wo[window].wrap = true
  return window, back
end

--- Show what was said, below, and leave the cursor where it is.
function M.open_talk()
  local number = buffer(TALK, "markdown")
  if window_of(number) then
    return
  end
  local window, back = split(("botright %dsplit"):format(TALK_LINES), number)
  vim.wo[window].winfixheight = true
  vim.api.nvim_win_set_cursor(window, { vim.api.nvim_buf_line_count(number), 0 })
  vim.api.nvim_set_current_win(back)
end

--- Add lines to what was said; where that is not on the screen, the first is shown as a message.
function M.say(lines)
  local number = buffer(TALK, "markdown")
  local is_empty = vim.api.nvim_buf_line_count(number) == 1 and vim.fn.getbufline(number, 1)[1] == ""
  written(number, is_empty and 0 or -1, -1, lines)
  local window = window_of(number)
  if window then
    vim.api.nvim_win_set_cursor(window, { vim.api.nvim_buf_line_count(number), 0 })
  else
    vim.notify("PeerSync: " .. lines[1])
  end
end

local function fence(code)
  local longest = 2
  for ticks in code:gmatch("`+") do
    longest = math.max(longest, #ticks)
  end
  return ("`"):rep(longest + 1)
end

local function one_line(value)
  return type(value) == "string" and (value:gsub("%c", " ")) or nil
end

--- Return the lines that show code: where it is from, and the code between fences.
local function code_lines(head, content)
  local marks = fence(content.text)
  local file = one_line(content.file)
  local line = type(content.line) == "number" and (":%d"):format(content.line) or ""
  local lines = { file and ("%s %s%s"):format(head, file, line) or head, marks .. (one_line(content.language) or "") }
  vim.list_extend(lines, vim.split(content.text, "\n", { plain = true }))
  lines[#lines + 1] = marks
  return lines
end

--- Return the lines that show a message of `name`, whatever JSON its content is.
function M.message_lines(name, content, kind)
  local head = name .. ":"
  if type(content) == "table" and type(content.text) == "string" then
    return code_lines(head, content)
  end
  local text = type(content) == "string" and content or vim.json.encode(content)
  if kind and kind ~= "chat" then
    head = ("%s [%s]:"):format(name, one_line(kind))
  end
  return vim.split(head .. " " .. text, "\n", { plain = true })
end

local function peer_line(client, id, peer)
  local session = client:session(id)
  local state = client.requests[id] and "asks you" or session and "in session" or peer.status
  local profile = peer.profile
  local line = ("%-24s %-10s %-9s %-10s %s"):format(
    client:name(id),
    profile.ide,
    profile.role,
    state or "online",
    peer.connectionMode or ""
  )
  return vim.trim(line)
end

--- Show who is there, as it is now, if that is on the screen.
function M.refresh_peers(client)
  local number = buffer(PEERS, "peersync")
  if not window_of(number) then
    return
  end
  local ids = vim.tbl_keys(client.peers)
  table.sort(ids)
  M.ids = ids
  local lines = vim.tbl_map(function(id)
    return peer_line(client, id, client.peers[id])
  end, ids)
  written(number, 0, -1, #lines > 0 and lines or { "Nobody else is here." })
end

--- Open who is there, with keys for `actions`, functions by key that are given a peer's id.
function M.open_peers(client, actions)
  local number = buffer(PEERS, "peersync")
  local window = window_of(number)
  if window then
    vim.api.nvim_set_current_win(window)
  else
    split("topleft 8split", number)
  end
  for key, action in pairs(actions) do
    vim.keymap.set("n", key, function()
      action(M.ids[vim.fn.line(".")])
    end, { buffer = number, nowait = true })
  end
  vim.keymap.set("n", "q", "<Cmd>close<CR>", { buffer = number, nowait = true })
  M.refresh_peers(client)
end

return M
