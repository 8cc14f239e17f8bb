"""HTTP connections, before they ask for a socket: uvicorn's protocol, with the bounds that it lacks.

uvicorn waits for a request for ever, keeps a head of any length, and takes any number of connections and requests. Here
each connection has ten seconds for a request and its answer. The size of a head, the number of connections that are no
sockets (yet), and the requests of an address are bounded.
"""

import asyncio
import logging
import math
from collections.abc import Mapping
from functools import partial
from posixpath import normpath
from typing import Any, Protocol
from urllib.parse import unquote

import httptools
import msgspec
import uvicorn
from msgspec import Struct
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from schemas.errors import ErrorCode

ADMISSION = "peersync.admission"
PATHS = "peersync.paths"
LOGGER = "uvicorn.error.http"
DISCARD_SECONDS = 1.0
MAX_HEAD_BYTES = 16_384

_OVER_BUDGET = msgspec.json.encode({"code": ErrorCode.RATE_LIMITED, "message": "Too many requests from your address"})
_PROBING = frozenset({b"GET", b"HEAD"})


class Paths(Struct, frozen=True):
    """What is known of paths before they are routed: where the socket is, and what a request costs (else 1).

    `probe` answers the paths of `probes` more cheaply than any routing, for callers whose budget is used up.
    """

    socket: str
    prices: Mapping[str, float]
    probes: frozenset[str]
    probe: ASGIApp


class Admission(Protocol):
    """Decides which connections and requests are served; see `app.admission.http_admission`."""

    def address(self, host: str) -> bytes:
        """Return the salted hash of an address."""

    def add_pending(self, connection: "HttpProtocol") -> None:
        """Count a connection that waits for a request."""

    def remove_pending(self, connection: "HttpProtocol") -> None:
        """Count a connection no more: it is gone, or is a socket now."""

    def too_large(self, connection: "HttpProtocol") -> None:
        """Refuse a connection whose head is too long."""

    def malformed(self, connection: "HttpProtocol") -> None:
        """Refuse a connection that does not speak HTTP."""

    def charge(self, connection: "HttpProtocol", price: float) -> float:
        """Charge for a request; return 0 if it passes, else the seconds until it would."""


class HttpProtocol(HttpToolsProtocol):
    """One HTTP connection. The application's lifespan puts `ADMISSION` and `PATHS` into uvicorn's state."""

    address = b""

    def __init__(
        self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any], **others: object
    ) -> None:
        super().__init__(config, server_state, app_state, **others)  # type: ignore[arg-type]  # as uvicorn calls it
        self.logger = logging.getLogger(LOGGER)
        self._admission: Admission = app_state[ADMISSION]
        self._paths: Paths = app_state[PATHS]
        self._head = 0
        self._is_handshake = False
        self._is_last = False
        self._running: RequestResponseCycle | None = None
        self._discarding: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.address = self._admission.address(self.client[0] if self.client else "")
        self._admission.add_pending(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more. uvicorn tells only the last of several pipelined requests, so tell the one being answered."""
        self._admission.remove_pending(self)
        if self._discarding is not None:
            self._discarding.cancel()
        self._take_back()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless there was more than a head may have and it has not ended."""
        if self._is_over():
            return
        self._unset_keepalive_if_required()
        self._head += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            if not self._is_over():
                self._admission.malformed(self)
        if self._head > MAX_HEAD_BYTES and not self._is_over():
            self._admission.too_large(self)

    def on_message_begin(self) -> None:
        """Begin a request, unless no more are answered."""
        if not self._is_over():
            super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Take note that the head has ended, and have the request answered if its address can pay for it."""
        self._head = 0
        if self._is_over():
            return
        is_upgrade = self.parser.should_upgrade()
        if is_upgrade and self.parser.get_method() == b"CONNECT":
            self._admission.malformed(self)
            return
        self._is_handshake = is_upgrade and self._opens_socket()
        if is_upgrade and not self._is_handshake:
            return
        path = unquote(httptools.parse_url(self.url).path.decode("ascii"))
        if self._is_handshake and path == self._paths.socket:
            wait = 0.0  # whether a socket may come in is decided elsewhere
        else:
            wait = self._admission.charge(self, self._paths.prices.get(normpath(path), 1.0))
        if wait:
            self._over_budget(path, wait)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, which is no part of a head."""
        self._head = 0
        if not self._is_over():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Take note that the request has ended, unless it is to be read once more without its `Upgrade`."""
        if not (self._is_over() or self.parser.should_upgrade()):
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        if not self.transport.is_closing():
            self._admission.add_pending(self)
        super().on_response_complete()

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to the WebSocket protocol, with only the path, the query and the headers it needs."""
        self._admission.remove_pending(self)
        url = httptools.parse_url(self.url)
        self.url = b"?".join(filter(None, (url.path, url.query)))
        others = [header for header in self.headers if header[0] != b"upgrade"]
        self.headers[:] = [*others, (b"upgrade", b"websocket")]
        super().handle_websocket_upgrade()

    def refuse(self, status: bytes, body: bytes, retry_after: int | None = None) -> None:
        """Close; with this answer, unless another one has begun or is due before it.

        What still comes is discarded for a moment: closed at once, the connection is reset, and the answer lost.
        """
        if self._is_idle() or self._is_unanswered():
            self._take_back()
            head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n"
            again = b"" if retry_after is None else b"retry-after: %d\r\n" % retry_after
            self.transport.write(head % (status, len(body)) + again + b"\r\n" + body)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self._discarding = self.loop.call_later(DISCARD_SECONDS, self.transport.close)

    def _is_idle(self) -> bool:
        """Whether no request waits for its answer."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is None or cycle.response_complete

    def _is_unanswered(self) -> bool:
        """Whether a single request waits for its answer, which has not begun."""
        return self.cycle is self._running and not self.cycle.response_started

    def _take_back(self) -> None:
        """Make whatever still answers the current request end without writing."""
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()

    def _is_over(self) -> bool:
        """Whether nothing that still comes is answered."""
        return self._is_last or self._discarding is not None or self.transport.is_closing()

    def _should_upgrade(self) -> bool:
        return self._is_handshake

    def _opens_socket(self) -> bool:
        """Whether this head, which has an `Upgrade`, is an opening handshake (RFC 6455 section 4.1).

        Whatever else it offers, and whatever is wrong with it, is ignored (RFC 9110 section 7.8).
        """
        if self.parser.get_method() != b"GET" or self.parser.get_http_version() == "1.0" or not self._is_idle():
            return False
        offers: set[bytes] = set()
        for name, value in self.headers:
            if name == b"upgrade":
                offers.update(offer.strip().lower() for offer in value.split(b","))
            elif name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")):
                return False
        return b"websocket" in offers

    def _feed(self, data: bytes) -> None:
        """Parse. httptools stops at any `Upgrade`; if it opens no socket, parse the request again without it."""
        rest = memoryview(data)
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            else:
                return
            if self._is_over():
                return
            if self._is_handshake:
                self.handle_websocket_upgrade()
                return
            head = self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            self.parser.feed_data(head)

    def _head_without_upgrade(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        return b"%s %s HTTP/%s\r\n%s\r\n" % (method, self.url, version, b"".join(lines))

    def _over_budget(self, path: str, wait: float) -> None:
        """Answer a probe all the same; refuse anything else in its turn, and close."""
        if path in self._paths.probes and self.parser.get_method() in _PROBING:
            self._answer_by(self._paths.probe)
            return
        retry_after = math.ceil(wait)
        if self._is_idle():
            self._admission.remove_pending(self)
            self.refuse(b"429 Too Many Requests", _OVER_BUDGET, retry_after)
            return
        self._answer_by(partial(_refuse_in_turn, retry_after))
        self._is_last = True

    def _answer_by(self, app: ASGIApp) -> None:
        """Have this request answered by another application."""
        usual, self.app = self.app, app
        try:
            super().on_headers_complete()
        finally:
            self.app = usual

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        self._running = cycle
        super()._start_asgi_task(cycle, partial(self._answer, cycle, app))

    async def _answer(
        self, cycle: RequestResponseCycle, app: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Call the application. If the client has hung up, log a line instead of a traceback."""
        try:
            await app(scope, receive, send)
        except (ClientDisconnect, OSError, RuntimeError):
            if not (cycle.disconnected or self.transport.is_closing()):
                raise
            cycle.disconnected = True
            self.logger.info("a client hung up before it was answered")


async def _refuse_in_turn(retry_after: int, _scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(_OVER_BUDGET)),
        (b"connection", b"close"),
        (b"retry-after", b"%d" % retry_after),
    ]
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": _OVER_BUDGET})
