"""HTTP connections, before they ask for a socket: uvicorn's protocol, with the bounds that it lacks.

uvicorn waits for a request for ever, keeps a head of any length, and takes any number of connections. Here each has ten
seconds for a request and its answer, a head has a bound, and so has the number of those that are no sockets (yet).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.wire.addresses import Addresses
from app.wire.refusals import Refusals
from app.wire.waiting import WaitingRoom
from schemas.errors import Limit

LOBBY = "peersync.lobby"
LOGGER = "uvicorn.error.http"
REQUEST_SECONDS = 10.0
GRACE_SECONDS = 1.0
DISCARD_SECONDS = 1.0
MAX_HEAD_BYTES = 16_384

_MALFORMED = b"400 Bad Request", "BAD_REQUEST", "This is no HTTP request"
_TIMEOUT = b"408 Request Timeout", "REQUEST_TIMEOUT", f"A request has {REQUEST_SECONDS:g} seconds"
_TOO_LARGE = b"431 Request Header Fields Too Large", "HEAD_TOO_LARGE", f"A head has {MAX_HEAD_BYTES} bytes at most"
_TOO_MANY = b"503 Service Unavailable", "TOO_MANY_CONNECTIONS", "Too many connections wait; try again later"


class Lobby:
    """All HTTP connections: `limit` of them beyond their first second, and none for longer than a request may take.

    In that second all may come at once, as they do when a node has restarted, and are read before they are counted.
    """

    def __init__(self, limit: int, addresses: Addresses, refusals: Refusals, monotonic: Callable[[], float]) -> None:
        self._room: WaitingRoom[HttpProtocol] = WaitingRoom(limit, REQUEST_SECONDS, GRACE_SECONDS)
        self._addresses = addresses
        self._refusals = refusals
        self._monotonic = monotonic

    def __len__(self) -> int:
        """Return how many connections wait."""
        return len(self._room)

    def address(self, host: str) -> bytes:
        """Return the salted hash of an address."""
        return self._addresses.hashed(host)

    def enter(self, connection: "HttpProtocol") -> None:
        """Await a request."""
        self._room.enter(connection, connection.address, self._monotonic())

    def leave(self, connection: "HttpProtocol") -> None:
        """Await none: the connection is gone, or is a socket now."""
        self._room.leave(connection)

    def too_large(self, connection: "HttpProtocol") -> None:
        """Send a connection away whose head does not end."""
        self._refuse(connection, Limit.HTTP_HEAD, *_TOO_LARGE)

    def malformed(self, connection: "HttpProtocol") -> None:
        """Send a connection away that does not speak HTTP."""
        self._refuse(connection, Limit.HTTP_MALFORMED, *_MALFORMED)

    def sweep(self) -> None:
        """Send away whoever took too long, and where too many wait, some of the address that has most."""
        now = self._monotonic()
        for connection in self._room.overdue(now):
            self._refuse(connection, Limit.HTTP_SECONDS, *_TIMEOUT)
        while (one_too_many := self._room.one_too_many(now)) is not None:
            self._refuse(one_too_many, Limit.HTTP_CONNECTIONS, *_TOO_MANY)

    def _refuse(self, connection: "HttpProtocol", limit: Limit, status: bytes, code: str, message: str) -> None:
        self._room.leave(connection)
        self._refusals.note(limit, connection.address)
        connection.refuse(status, msgspec.json.encode({"code": code, "message": message}))


class HttpProtocol(HttpToolsProtocol):
    """One HTTP connection. The application's lifespan puts the lobby into uvicorn's state, as `LOBBY`."""

    address = b""

    def __init__(
        self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any], **others: object
    ) -> None:
        super().__init__(config, server_state, app_state, **others)  # type: ignore[arg-type]  # as uvicorn calls it
        self.logger = logging.getLogger(LOGGER)
        self._lobby: Lobby = app_state[LOBBY]
        self._head = 0
        self._discarding: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.address = self._lobby.address(self.client[0] if self.client else "")
        self._lobby.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._lobby.leave(self)
        if self._discarding is not None:
            self._discarding.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless there was more than a head may have and it has not ended."""
        if self._discarding is not None:
            return
        self._head += len(data)
        super().data_received(data)
        if self._head > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._lobby.too_large(self)

    def on_headers_complete(self) -> None:
        """Take note that the head has ended."""
        super().on_headers_complete()
        self._head = 0

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, which is no part of a head."""
        self._head = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        if not self.transport.is_closing():
            self._lobby.enter(self)
        super().on_response_complete()

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to the WebSocket protocol."""
        self._lobby.leave(self)
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
        """Close, since what came is no HTTP."""
        self._lobby.malformed(self)

    def refuse(self, status: bytes, body: bytes) -> None:
        """Close; with this answer, unless another one is on its way.

        What still comes is discarded for a moment: closed at once, the connection is reset, and the answer lost.
        """
        cycle: Any = self.cycle  # None before the first request
        if cycle is None or cycle.response_complete:
            head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.write(head % (status, len(body)) + body)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self._discarding = self.loop.call_later(DISCARD_SECONDS, self.transport.close)
