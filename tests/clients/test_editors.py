"""Emacs, Neovim and VS Code's runtime meet through one server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import permutations
from pathlib import Path

import pytest

from tests.support.editors import BuiltIn, Editor, Emacs, Neovim, VSCode, editing, is_online, marked, until
from tests.support.server import Server

KINDS: list[type[Editor]] = [Emacs, Neovim, VSCode, *([] if BuiltIn.lacks() else [BuiltIn])]
CODE = 'def greet(name):\n    """Say `hello` \\ in many ways."""\n    return f"Grüße, {name} 🐧"'


@pytest.fixture
def server(servers: dict[str, Server]) -> Server:
    return servers["peersync"]


@asynccontextmanager
async def meeting(server: Server, folder: Path, *kinds: type[Editor]) -> AsyncIterator[list[Editor]]:
    """Run editors that are connected, and list each other."""
    if not kinds:
        yield []
        return
    user = f"{kinds[0].__name__} of {folder.name}"
    async with editing(kinds[0], user, folder) as editor, meeting(server, folder, *kinds[1:]) as others:
        await editor.connect(server.url, server.keys.token(user))
        await until(editor.status, is_online)
        yield [editor, *others]


async def in_session(asking: Editor, asked: Editor) -> None:
    """Let one editor ask and the other accept."""
    await until(asking.peers, lambda peers: asked.user in peers)
    await asking.request(asked.user)
    await until(asked.requests, lambda requests: asking.user in requests)
    await asked.answer(asking.user, accepted=True)
    await until(asking.sessions, lambda count: count == 1)
    await until(asked.sessions, lambda count: count == 1)


@pytest.mark.parametrize("kinds", [marked(*KINDS)])
async def test_all_find_each_other(kinds: tuple[type[Editor], ...], server: Server, tmp_path: Path) -> None:
    """Each lists all others, and no longer those who left."""
    async with meeting(server, tmp_path, *kinds) as editors:
        users = {editor.user for editor in editors}
        for editor in editors:
            await until(editor.peers, (users - {editor.user}).__eq__)


@pytest.mark.parametrize("kinds", [marked(*pair) for pair in permutations(KINDS, 2)])
async def test_two_talk(kinds: tuple[type[Editor], ...], server: Server, tmp_path: Path) -> None:
    """One asks, the other accepts; what either selects and sends, the other shows, whole."""
    async with meeting(server, tmp_path, *kinds) as (asking, asked):
        await in_session(asking, asked)
        await asking.send(CODE)
        await until(asked.shown, lambda text: CODE in text)
        await asked.send(CODE[::-1])
        await until(asking.shown, lambda text: CODE[::-1] in text)
