"""A server that does what a test wants of it, for clients of which a real one could not ask it."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from websockets.asyncio.server import Server, ServerConnection, serve

from tests.support.client import PATIENCE

Accepted = tuple[ServerConnection, Any]


class Scripted:
    """Hands over each connection that has authenticated, with what its AUTH said; then the test says what happens."""

    def __init__(self) -> None:
        self._sender, self._receiver = anyio.create_memory_object_stream[Accepted](10)
        self.port = 0

    @property
    def url(self) -> str:
        """Where the socket is."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def secure_url(self) -> str:
        """Where the socket is, with TLS."""
        return f"wss://localhost:{self.port}/ws"

    @property
    def waiting(self) -> int:
        """How many connections have authenticated that no test took."""
        return self._receiver.statistics().current_buffer_used

    async def accepted(self) -> Accepted:
        """Return the next connection, and the data of its AUTH."""
        with anyio.fail_after(PATIENCE):
            return await self._receiver.receive()

    async def serve(self, connection: ServerConnection) -> None:
        """Take one connection, until it is closed."""
        hello = json.loads(await connection.recv())
        assert hello["event"] == "AUTH"
        await self._sender.send((connection, hello["data"]))
        await connection.wait_closed()

    async def aclose(self) -> None:
        """Forget the connections that nobody took."""
        await self._sender.aclose()
        await self._receiver.aclose()


@asynccontextmanager
async def scripted(secure: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    """Listen on a port of this machine, if `secure` is given with TLS."""
    made = Scripted()
    server: Server
    try:
        async with serve(made.serve, "127.0.0.1", 0, compression=None, ssl=secure) as server:
            made.port = next(iter(server.sockets)).getsockname()[1]
            yield made
    finally:
        await made.aclose()


def event(name: str, **data: object) -> str:
    """Return an event as a frame holds it."""
    return json.dumps({"event": name, "data": data})
