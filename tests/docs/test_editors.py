"""docs/editors.md: what it says to put into an editor's settings works."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.clients.picture import conversation, drawn
from tests.support.editors import DRIVERS, Emacs, Neovim, Plugin, editing, emacs, is_online, marked, until
from tests.support.server import ROOT, Server

PAGE = (ROOT / "docs/editors.md").read_text()


class SetUpEmacs(Emacs):
    """Emacs with the settings of the page."""

    file = "init"
    connecting = '(progn (call-interactively (key-binding (kbd "C-c y c"))) nil)'
    init = re.findall(r"```elisp\n(.*?)```", PAGE, re.DOTALL)[0]

    @classmethod
    def command(cls) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        return emacs("--load", "./init", "--load", DRIVERS / "emacs/driver.el"), {}


class SetUpNeovim(Neovim):
    """Neovim with the settings of the page."""

    file = "init.lua"
    connecting = "vim.cmd('PeerSync connect')"
    init = "".join(re.findall(r"```lua\n(.*?)```", PAGE, re.DOTALL))

    @classmethod
    def command(cls) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        driver = f"luafile {DRIVERS / 'neovim/driver.lua'}"
        return ["nvim", "--headless", "-u", "init.lua", "-i", "NONE", "-n", "-c", driver], {}


@pytest.fixture
def server(servers: dict[str, Server]) -> Server:
    return servers["peersync"]


def checkout(home: Path, token: str) -> None:
    """Make what the page's settings name: the clients, and what prints a token."""
    root = home / "src/peersync"
    (root / "bin").mkdir(parents=True)
    (root / "clients").symlink_to(ROOT / "clients")
    (root / "bin/devtoken").write_text(f"#!/bin/sh\necho {token}\n")
    (root / "bin/devtoken").chmod(0o755)


@pytest.mark.parametrize("kinds", [marked(SetUpEmacs), marked(SetUpNeovim)])
async def test_settings(kinds: tuple[type[SetUpEmacs | SetUpNeovim]], server: Server, tmp_path: Path) -> None:
    """An editor with the page's settings connects."""
    kind = kinds[0]
    checkout(tmp_path, server.keys.token(f"{kind.__name__}.{tmp_path.name}"))
    (tmp_path / kind.file).write_text(kind.init.replace("ws://127.0.0.1:3000/ws", server.url))
    async with editing(kind, "ann", tmp_path) as editor:
        await editor.run(kind.connecting)
        await until(editor.status, is_online)


@pytest.mark.parametrize("kinds", [marked(Emacs, Neovim)])
async def test_picture(kinds: tuple[type[Plugin], ...], server: Server, tmp_path: Path) -> None:
    """The picture can still be taken: both editors' keys do what the page says."""
    picture = drawn(await conversation(server, tmp_path))
    assert picture.count("Should an empty name not be refused?") == 2
    assert (ROOT / "docs/images/editors.svg").is_file()
