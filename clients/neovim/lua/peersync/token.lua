--- Where the access token comes from.
local M = {}

local function of_command(command, done)
  local said = ""
  local is_good, job = pcall(vim.fn.jobstart, command, {
    stdout_buffered = true,
    on_stdout = function(_, lines)
      said = vim.trim(table.concat(lines, "\n"))
    end,
    on_exit = function(_, code)
      if code == 0 and said ~= "" then
        done(said)
      else
        done(nil, ("The token's command ended with %d and printed %d characters"):format(code, #said))
      end
    end,
  })
  if not is_good or job <= 0 then
    done(nil, "The token's command does not start: " .. vim.inspect(command))
  end
end

--- Return a function that finds the token anew and calls `done(token)`, or `done(nil, why)`.
--- `options.token` is a string or a function; else `options.token_command` is run, a list or a shell's line;
--- else the environment's PEERSYNC_TOKEN counts.
function M.source(options)
  return function(done)
    local token = options.token
    if type(token) == "function" then
      token = token()
    elseif not token and options.token_command then
      return of_command(options.token_command, done)
    end
    token = token or vim.env.PEERSYNC_TOKEN
    if token and token ~= "" then
      done(token)
    else
      done(nil, "No token: set token or token_command in setup(), or PEERSYNC_TOKEN in the environment")
    end
  end
end

return M
