std = "luajit"
read_globals = { "vim" }
files["."].globals = { "vim.bo", "vim.wo", "vim.g" }
max_line_length = 120
