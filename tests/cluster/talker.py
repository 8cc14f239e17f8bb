"""A user that loses nothing: it goes to whichever node lets it in, resumes, and sends what it must again."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidHandshake

import peersync
from peersync.events import (
    AuthSuccess,
    ConnectionAccepted,
    ConnectionRequestReceived,
    MessageReceived,
    SessionEnded,
)
from tests.support.server import Server

PATIENCE = 40.0
NEAR = 0.2


class Talker:
    """One user; `heard` is what it was sent, in order, and `over` why sessions ended."""

    def __init__(self, user: str, nodes: Sequence[Server]) -> None:
        self.nodes = list(nodes)
        self.heard: list[Any] = []
        self.over: list[str] = []
        self.session = ""
        self.starts = 0
        self._met = anyio.Event()
        self._token = nodes[0].keys.token(user)
        self.peer = peersync.Peer(nodes[0].url, self._token, {"displayName": user}, open_socket=self._open)

    async def _open(self, _url: str) -> ClientConnection:
        """Connect to the first of the nodes that takes us."""
        for node in self.nodes[:-1]:
            with suppress(OSError, InvalidHandshake):
                return await peersync.open_socket(node.url, proxy=None)
        return await peersync.open_socket(self.nodes[-1].url, proxy=None)

    async def listen(self) -> None:
        """Take in what comes, until cancelled."""
        async for event in self.peer:
            match event:
                case MessageReceived(data=message):
                    self.heard.append(message["content"])
                case ConnectionRequestReceived(data=request):
                    self._meet((await self.peer.accept(request["requestId"]))["sessionId"])
                case ConnectionAccepted(data=accepted):
                    self._meet(accepted["sessionId"])
                case SessionEnded(data=ended):
                    self.over.append(ended["reason"])
                case AuthSuccess(data=success):
                    self.starts += not success.get("recovered")

    def _meet(self, session_id: str) -> None:
        self.session = session_id
        self._met.set()

    async def meet(self, other: str) -> None:
        """Ask for a session, once it is known here that the other is there, and wait for it."""
        known: list[str] = []
        while other not in known:
            known = [each["id"] for each in (await self.peer.discover_peers())["peers"]]
        await self.peer.connection_request(targetId=other)
        await self.has_met()

    async def has_met(self) -> None:
        """Wait until there is a session."""
        with anyio.fail_after(PATIENCE):
            await self._met.wait()

    async def say(self, contents: Iterable[Any], pause: float = 0) -> None:
        """Send, one after the other, and see each acknowledged."""
        for content in contents:
            with anyio.fail_after(PATIENCE):
                await self.peer.send_message(sessionId=self.session, content=content)
            await anyio.sleep(pause)

    async def has_heard(self, count: int) -> list[Any]:
        """Return what it was sent, once it is so much."""
        with anyio.fail_after(PATIENCE):
            while len(self.heard) < count:  # noqa: ASYNC110 - another process brings it about
                await anyio.sleep(NEAR)
        return self.heard


@asynccontextmanager
async def talking(ann: Talker, bob: Talker) -> AsyncIterator[None]:
    """Have ann and bob in a session, both listening."""
    async with ann.peer, bob.peer, anyio.create_task_group() as tasks:
        tasks.start_soon(ann.listen)
        tasks.start_soon(bob.listen)
        await ann.meet("bob")
        await bob.has_met()
        yield
        tasks.cancel_scope.cancel()
