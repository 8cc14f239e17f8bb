--- What a message says, in the two shapes that plugins give it: the value itself, or an envelope around it.
--- Extensions written for the original server send { messageId, content, type }, and cannot read anything else.
local M = {}

local uv = vim.uv or vim.loop

local function hex(bytes)
  return (bytes:gsub(".", function(byte)
    return ("%02x"):format(byte:byte())
  end))
end

--- Return the content and the kind of a message, and whether it came in an envelope. The kind of the envelope counts if
--- the message has none or is chat.
function M.read(data)
  local content, kind = data.content, data.type
  if type(content) ~= "table" or type(content.messageId) ~= "string" or content.content == nil then
    return content, kind, false
  end
  local inner = type(content.type) == "string" and content.type or nil
  if kind == nil or kind == "chat" then
    kind = inner or kind
  end
  return content.content, kind, true
end

--- Return code as a text: its place, then the code between fences.
local function as_text(code)
  return ("%s:%d\n```%s\n%s\n```"):format(code.file, code.line, code.language, code.text)
end

--- Return content in an envelope, and its kind: for those who read nothing else, all is chat.
function M.enveloped(content)
  local text = type(content) == "string" and content or as_text(content)
  return { messageId = "msg_" .. hex(uv.random(16)), content = text, type = "chat" }, "chat"
end

return M
