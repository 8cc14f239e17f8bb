"""Real editors without a screen: each runs its plugin, and does and tells what a test asks over a socket."""

import json
import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketListener, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.support.client import OFTEN, PATIENCE
from tests.support.server import ROOT

START_SECONDS = 20
ANSWER_SECONDS = 10
LONGEST_LINE = 8 * 1024 * 1024
DRIVERS = ROOT / "tests/clients"
EMACS_PACKAGE = ROOT / "clients/emacs"
NEOVIM_PLUGIN = ROOT / "clients/neovim"
NODE_MODULES = DRIVERS / "node/node_modules"


Told = TypeVar("Told")
Running = TypeVar("Running", bound="Driven")


class Driven(ABC):
    """A program that runs, and does what it is told in its own language."""

    def __init__(self, user: str, stream: SocketStream) -> None:
        self.user = user
        self._stream = stream
        self._lines = BufferedByteReceiveStream(stream)

    @classmethod
    @abstractmethod
    def command(cls) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        """Return what starts the program, and what its environment has besides."""

    async def run(self, code: str) -> Any:
        """Run code in the program's language, and return its value."""
        with anyio.fail_after(ANSWER_SECONDS):
            await self._stream.send(json.dumps(code).encode() + b"\n")
            answer = json.loads(await self._lines.receive_until(b"\n", LONGEST_LINE))
        assert "error" not in answer, (code, answer)
        return answer["value"]


class Editor(Driven):
    """An editor, and the one who sits at it."""

    @classmethod
    @abstractmethod
    def lacks(cls) -> str | None:
        """Return what is missing here to run it."""

    @abstractmethod
    async def connect(self, url: str, token: str) -> None:
        """Begin to connect."""

    @abstractmethod
    async def peers(self) -> set[str]:
        """Return who is listed."""

    @abstractmethod
    async def request(self, peer: str) -> None:
        """Ask a peer for a session."""

    @abstractmethod
    async def requests(self) -> set[str]:
        """Return who asks."""

    @abstractmethod
    async def answer(self, peer: str, *, accepted: bool) -> None:
        """Accept or reject what a peer asks."""

    @abstractmethod
    async def sessions(self) -> int:
        """Return how many sessions there are."""

    @abstractmethod
    async def send(self, text: str) -> None:
        """Send a text as if it had been selected."""

    @abstractmethod
    async def shown(self) -> str:
        """Return what the user can read."""

    @abstractmethod
    async def status(self) -> str:
        """Return the state of the connection: online, offline or waiting."""


class Plugin(Editor):
    """An editor with a plugin of ours."""

    @abstractmethod
    async def connect_with_command(self, url: str, command: Sequence[str]) -> None:
        """Begin to connect with the token that a command prints."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Begin to leave."""


class Emacs(Plugin):
    """GNU Emacs with peersync.el."""

    @classmethod
    def command(cls) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        return emacs("--load", EMACS_PACKAGE / "peersync.el", "--load", DRIVERS / "emacs/driver.el"), {}

    @classmethod
    def lacks(cls) -> str | None:
        if shutil.which("emacs") is None:
            return "emacs"
        return None if websocket_el() else "elpa-websocket"

    async def connect(self, url: str, token: str) -> None:
        await self._connect(url, f"peersync-token {lisp(token)}")

    async def connect_with_command(self, url: str, command: Sequence[str]) -> None:
        words = " ".join(lisp(each) for each in command)
        await self._connect(url, f"peersync-token-command '({words})")

    async def _connect(self, url: str, setting: str) -> None:
        settings = f"peersync-url {lisp(url)} peersync-display-name {lisp(self.user)} {setting}"
        await self.run(f"(progn (setq {settings}) (peersync-connect) nil)")

    async def disconnect(self) -> None:
        await self.run("(progn (peersync-disconnect) nil)")

    async def peers(self) -> set[str]:
        rows = "(save-window-excursion (peersync-list-peers) (vconcat (mapcar #'car (peersync--rows))))"
        return set(await self.run(rows))

    async def request(self, peer: str) -> None:
        await self.run(f"(progn (peersync-request {lisp(peer)}) nil)")

    async def requests(self) -> set[str]:
        return set(await self.run("(vconcat (mapcar #'car peersync--requests))"))

    async def answer(self, peer: str, *, accepted: bool) -> None:
        command = "peersync-accept" if accepted else "peersync-reject"
        await self.run(f"(progn (call-interactively #'{command}) nil)")

    async def sessions(self) -> int:
        count: int = await self.run("(length peersync--sessions)")
        return count

    async def send(self, text: str) -> None:
        select = f"(insert {lisp(text)}) (set-mark (point-min)) (goto-char (point-max))"
        await self.run(f"(with-temp-buffer {select} (call-interactively #'peersync-send-region) nil)")

    async def shown(self) -> str:
        text: str = await self.run("(with-current-buffer peersync--talk-name (buffer-string))")
        return text

    async def status(self) -> str:
        text: str = await self.run("(symbol-name peersync--status)")
        return text


class Neovim(Plugin):
    """Neovim with the plugin."""

    @classmethod
    def command(cls) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        return neovim("--headless", "-c", f"luafile {DRIVERS / 'neovim/driver.lua'}"), {}

    @classmethod
    def lacks(cls) -> str | None:
        return None if shutil.which("nvim") else "neovim"

    async def connect(self, url: str, token: str) -> None:
        await self._connect(url, f"token = {lua(token)}")

    async def connect_with_command(self, url: str, command: Sequence[str]) -> None:
        words = ", ".join(lua(each) for each in command)
        await self._connect(url, f"token_command = {{ {words} }}")

    async def _connect(self, url: str, setting: str) -> None:
        settings = f"url = {lua(url)}, display_name = {lua(self.user)}, {setting}"
        await self.run(f"require('peersync').setup({{ {settings} }}) vim.cmd('PeerSync connect')")

    async def disconnect(self) -> None:
        await self.run("vim.cmd('PeerSync disconnect')")

    async def peers(self) -> set[str]:
        return set(await self.run("vim.cmd('PeerSync peers') vim.cmd('close') return require('peersync.view').ids"))

    async def request(self, peer: str) -> None:
        await self.run(f"vim.cmd({lua('PeerSync request ' + peer)})")

    async def requests(self) -> set[str]:
        return set(await self.run("return vim.tbl_keys(require('peersync').client().requests)"))

    async def answer(self, peer: str, *, accepted: bool) -> None:
        command = "accept" if accepted else "reject"
        await self.run(f"vim.cmd({lua(f'PeerSync {command} {peer}')})")

    async def sessions(self) -> int:
        count: int = await self.run("return vim.tbl_count(require('peersync').client().sessions)")
        return count

    async def send(self, text: str) -> None:
        lines = f"vim.api.nvim_buf_set_lines(0, 0, -1, false, vim.split({lua(text)}, '\\n'))"
        await self.run(f"{lines} vim.cmd('%PeerSync send')")

    async def shown(self) -> str:
        text: str = await self.run("return table.concat(vim.fn.getbufline('peersync://talk', 1, '$'), '\\n')")
        return text

    async def status(self) -> str:
        text: str = await self.run("return require('peersync').client().status")
        return text


class VSCode(Editor):
    """The runtime of VS Code's extensions, with the library that they bring along."""

    websocket = "ws"
    options: Sequence[str] = ()

    @classmethod
    def command(cls) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        return ["node", *cls.options, DRIVERS / "node/driver.mjs"], {"WEBSOCKET": cls.websocket}

    @classmethod
    def lacks(cls) -> str | None:
        if shutil.which("node") is None:
            return "node"
        return None if NODE_MODULES.is_dir() else "bin/_setup_node tests/clients/node"

    async def connect(self, url: str, token: str) -> None:
        arguments = ", ".join(json.dumps(each) for each in (url, token, self.user))
        await self.run(f"peer.connect({arguments})")

    async def peers(self) -> set[str]:
        return set(await self.run("return [...peer.peers.keys()]"))

    async def request(self, peer: str) -> None:
        await self.run(f"peer.send('CONNECTION_REQUEST', {{ targetId: {json.dumps(peer)} }})")

    async def requests(self) -> set[str]:
        return set(await self.run("return [...peer.requests.keys()]"))

    async def answer(self, peer: str, *, accepted: bool) -> None:
        await self.run(f"peer.answer({json.dumps(peer)}, {json.dumps(accepted)})")

    async def sessions(self) -> int:
        count: int = await self.run("return peer.sessions.size")
        return count

    async def send(self, text: str) -> None:
        content = {"language": "typescript", "file": "extension.ts", "line": 1, "text": text}
        await self.run(f"peer.say({json.dumps(content)}, 'code')")

    async def shown(self) -> str:
        text: str = await self.run("return peer.messages.join('\\n')")
        return text

    async def status(self) -> str:
        text: str = await self.run("return peer.status")
        return text


class BuiltIn(VSCode):
    """The same with the WebSocket that Node itself has: from 22 on; behind an option from 20.10 on."""

    websocket = "builtin"
    options = ("--experimental-websocket",)

    @classmethod
    def lacks(cls) -> str | None:
        if shutil.which("node") is None:
            return "node"
        tried = subprocess.run(["node", *cls.options, "-e", "WebSocket"], capture_output=True, check=False)
        return "a Node with a WebSocket of its own" if tried.returncode else None


def marked(*kinds: type[Editor]) -> pytest.ParameterSet:
    """Return editors for a test, which is left out where one is missing; in CI none may be."""
    missing = [lack for kind in kinds if (lack := kind.lacks())] if "CI" not in os.environ else []
    left_out = pytest.mark.skipif(bool(missing), reason=f"bin/_setup_debian: {', '.join(missing)} is missing")
    return pytest.param(kinds, id="-".join(kind.__name__ for kind in kinds), marks=left_out)


async def until(ask: Callable[[], Awaitable[Told]], is_so: Callable[[Told], bool]) -> None:
    """Ask an editor until its answer is so."""
    told = await ask()
    end = anyio.current_time() + PATIENCE
    while not is_so(told):
        assert anyio.current_time() < end, f"{ask} still tells {told!r}"
        await anyio.sleep(OFTEN)
        told = await ask()


def is_online(status: str) -> bool:
    """Whether this is the state of a connection that is up."""
    return status == "online"


@asynccontextmanager
async def editing(kind: type[Running], user: str, folder: Path) -> AsyncIterator[Running]:
    """Run an editor, or another program with a driver, in a folder, and end it afterwards."""
    command, environment = kind.command()
    log = folder / f"{kind.__name__}.log"
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listeners:
        listener = listeners.listeners[0]
        assert isinstance(listener, SocketListener)
        port = str(listener.extra(SocketAttribute.local_port))
        environment = {**os.environ, "HOME": str(folder), **environment, "DRIVER_PORT": port}
        async with running(command, environment, log), await answering(listener, log) as stream:
            yield kind(user, stream)


@asynccontextmanager
async def running(command: Sequence[str | Path], environment: Mapping[str, str], log: Path) -> AsyncIterator[None]:
    """Run a command that ends by itself once it is no longer needed; or else end it."""
    with log.open("wb") as out:
        process = await anyio.open_process(
            command, env=environment, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(ANSWER_SECONDS):
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()


async def answering(listener: SocketListener, log: Path) -> SocketStream:
    """Return the connection of an editor that has started."""
    with anyio.move_on_after(START_SECONDS):
        return await listener.accept()
    raise AssertionError(f"the editor did not start: {await anyio.Path(log).read_text()}")


def emacs(*arguments: str | Path) -> Sequence[str | Path]:
    """Return what runs Emacs as a batch, with the library that the package needs."""
    return ["emacs", "--batch", "-Q", *[each for path in websocket_el() for each in ("-L", path)], *arguments]


def websocket_el() -> list[Path]:
    """Return the folder where Debian has the library."""
    return sorted(path.parent for path in Path("/usr/share/emacs/site-lisp/elpa").glob("websocket-*/websocket.el"))


def neovim(*arguments: str | Path) -> Sequence[str | Path]:
    """Return what runs Neovim with nothing but the plugin."""
    plugin = ["--cmd", f"set runtimepath^={NEOVIM_PLUGIN}", "-c", "runtime plugin/peersync.lua"]
    return ["nvim", "-u", "NONE", "-i", "NONE", "-n", *plugin, *arguments]


def lisp(text: str) -> str:
    """Return a string as Emacs Lisp writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def lua(text: str) -> str:
    """Return a string as Lua writes it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
