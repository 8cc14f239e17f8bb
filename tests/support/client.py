"""A client for tests, over a real WebSocket library."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.server import Server

PATIENCE = 10.0
QUIET = 0.2
OFTEN = 0.05


class Client:
    """One socket to a server."""

    def __init__(self, websocket: ClientConnection, server: Server) -> None:
        self.websocket = websocket
        self.server = server

    async def send(self, event: str, **data: object) -> None:
        """Send an event."""
        await self.raw(json.dumps({"event": event, "data": data}))

    async def raw(self, frame: str | bytes) -> None:
        """Send a frame as it is."""
        await self.websocket.send(frame)

    async def receive(self) -> str:
        """Return the next frame."""
        with anyio.fail_after(PATIENCE):
            frame = await self.websocket.recv()
        assert isinstance(frame, str), "the server sends text frames only"
        return frame

    async def expect(self, event: str) -> Any:
        """Return the data of the next event, which has to be this one."""
        frame = json.loads(await self.receive())
        assert frame["event"] == event, frame
        return frame["data"]

    async def next_event(self) -> str:
        """Return the name of the next event, or of a presence update peer and status."""
        frame = json.loads(await self.receive())
        if frame["event"] == "PEER_STATUS_UPDATE":
            return f"{frame['data']['id']} {frame['data']['status']}"
        name: str = frame["event"]
        return name

    async def until(self, event: str) -> Any:
        """Return the data of the next such event, whatever comes before it."""
        while True:
            frame = json.loads(await self.receive())
            if frame["event"] == event:
                return frame["data"]

    async def expect_error(self, code: str) -> None:
        """Receive an error with this code."""
        assert (await self.expect("ERROR"))["code"] == code

    async def expect_close(self, code: int) -> None:
        """See the server close with this code."""
        with anyio.fail_after(PATIENCE), pytest.raises(ConnectionClosed) as closed:
            await self.websocket.recv()
        assert closed.value.rcvd is not None, "the connection was cut"
        assert closed.value.rcvd.code == code, closed.value.rcvd

    async def expect_close_after_news(self, code: int) -> None:
        """See the server close with this code, whatever comes before it."""
        with anyio.fail_after(PATIENCE), pytest.raises(ConnectionClosed) as closed:
            await self.until("no such event")
        assert closed.value.rcvd is not None, "the connection was cut"
        assert closed.value.rcvd.code == code, closed.value.rcvd

    async def expect_quiet(self) -> None:
        """See that all sent so far brings nothing but an answer to a PING."""
        await self.send("PING")
        await self.expect("PONG")

    async def join(self, user: str, org: str | None = None, **profile: object) -> Any:
        """Authenticate and register."""
        await self.authenticate(user, org)
        await self.send("PEER_REGISTER", **profile)
        return await self.expect("PEER_REGISTERED")

    async def authenticate(self, user: str, org: str | None = None) -> Any:
        """Authenticate."""
        await self.send("AUTH", token=self.server.keys.token(user, org))
        return await self.expect("AUTH_SUCCESS")

    async def authenticate_again(self, user: str) -> Any:
        """Renew the token."""
        await self.send("AUTH", token=self.server.keys.token(user))
        return await self.until("AUTH_SUCCESS")

    async def is_heard(self) -> bool:
        """Whether the server still answers on this socket."""
        await self.send("NOTHING")
        await self.until("ERROR")
        return True

    def cut(self) -> None:
        """Lose the connection without a word."""
        self.websocket.transport.abort()


@asynccontextmanager
async def client(server: Server) -> AsyncIterator[Client]:
    """Connect, and say goodbye afterwards."""
    async with connect(
        server.url,
        ssl=server.tls,
        compression=None,
        max_size=None,
        max_queue=None,
        proxy=None,
        ping_interval=None,
    ) as websocket:
        yield Client(websocket, server)


async def pair(ann: Client, bob: Client, names: tuple[str, str] = ("ann", "bob")) -> str:
    """Register ann and bob, connect them, and return their session's id."""
    await ann.join(names[0])
    await bob.join(names[1])
    await ann.send("CONNECTION_REQUEST", targetId=names[1])
    request = await bob.until("CONNECTION_REQUEST_RECEIVED")
    await bob.send("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True)
    await bob.until("SESSION_CREATED")
    accepted = await ann.until("CONNECTION_ACCEPTED")
    session_id: str = accepted["sessionId"]
    return session_id


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that another process is to bring about."""
    with anyio.fail_after(PATIENCE):
        while not is_so():  # noqa: ASYNC110 - it is another process that is waited for
            await anyio.sleep(OFTEN)
