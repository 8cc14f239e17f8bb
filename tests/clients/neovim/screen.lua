--- A terminal of a fixed size that runs one program: what is typed, and what is on the screen. For a picture.
local M = {}

local WHITE, BLACK = 0xD8DEE9, 0x1E222A

--- Run a command that fills the screen.
function M.open(command, environment, columns, rows)
  vim.o.columns, vim.o.lines = columns, rows + 1
  vim.o.laststatus, vim.o.ruler, vim.o.showmode, vim.o.termguicolors = 0, false, false, true
  M.job = vim.fn.termopen(command, { env = environment })
  M.buffer = vim.api.nvim_get_current_buf()
  M.columns, M.rows = columns, rows
end

--- Type keys, in the notation of mappings.
function M.type(keys)
  vim.fn.chansend(M.job, vim.api.nvim_replace_termcodes(keys, true, true, true))
end

--- Return the text on the screen.
function M.text()
  return table.concat(vim.api.nvim_buf_get_lines(M.buffer, 0, -1, false), "\n")
end

local function cell(row, column)
  local found = vim.api.nvim__inspect_cell(1, row, column)
  local look = found[2] or {}
  local front, back = look.foreground or WHITE, look.background or BLACK
  if look.reverse then
    front, back = back, front
  end
  return { found[1] or "", front, back, look.bold or false, look.italic or false }
end

--- Return the rows of the screen: of each cell the text, the colours of text and ground, and whether bold and italic.
function M.cells()
  vim.api.nvim__inspect_cell(1, 0, 0) -- the first call forgets what was drawn with which colours
  vim.cmd("redraw!")
  local rows = {}
  for row = 1, M.rows do
    rows[row] = {}
    for column = 1, M.columns do
      rows[row][column] = cell(row - 1, column - 1)
    end
  end
  return rows
end

return M
