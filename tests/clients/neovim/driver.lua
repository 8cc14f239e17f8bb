--- Does what a test says: each line that comes from the port in DRIVER_PORT is a JSON string, a chunk of Lua;
--- what it returns goes back, as JSON.
local uv = vim.uv or vim.loop

local driver = uv.new_tcp()
local pending = ""

local function value_of(code)
  local chunk, wrong = load(code)
  if not chunk then
    return { error = wrong }
  end
  local is_good, value = pcall(chunk)
  if not is_good then
    return { error = tostring(value) }
  end
  return { value = value == nil and vim.NIL or value }
end

local function answer(line)
  driver:write(vim.json.encode(value_of(vim.json.decode(line))) .. "\n")
end

driver:connect("127.0.0.1", tonumber(vim.env.DRIVER_PORT), function(failure)
  assert(not failure, failure)
  driver:read_start(function(_, bytes)
    if not bytes then
      return vim.schedule(function()
        vim.cmd("quitall!")
      end)
    end
    local lines = vim.split(pending .. bytes, "\n", { plain = true })
    pending = table.remove(lines)
    for _, line in ipairs(lines) do
      vim.schedule(function()
        answer(line)
      end)
    end
  end)
end)
