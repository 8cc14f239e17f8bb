if vim.g.loaded_peersync then
  return
end
vim.g.loaded_peersync = true

vim.api.nvim_create_user_command("PeerSync", function(command)
  require("peersync.command").run(command)
end, {
  nargs = "+",
  range = true,
  complete = function(lead, line)
    return require("peersync.command").complete(lead, line)
  end,
  desc = "Meet developers in other editors",
})

vim.api.nvim_create_autocmd("VimLeavePre", {
  group = vim.api.nvim_create_augroup("peersync", {}),
  callback = function()
    if package.loaded.peersync then
      require("peersync").quit()
    end
  end,
})
