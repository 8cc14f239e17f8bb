"""HTTP connections before they are upgraded: uvicorn's protocol class, with the limits that it lacks.

uvicorn waits forever for a request, buffers a head of any length, and accepts any number of connections and requests.
Here a connection has ten seconds for a request and its response. The size of a head, the number of connections that
are not upgraded, and the requests of one address are limited.
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
    """What the protocol knows about paths before routing: the socket's path, and the price of a request (default 1).

    For clients whose budget is used up, `probe` answers the paths in `probes`, at less cost than routing.
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
        """Add a connection that waits for a request."""

    def remove_pending(self, connection: "HttpProtocol") -> None:
        """Remove a connection that is closed or has been upgraded."""

    def too_large(self, connection: "HttpProtocol") -> None:
        """Reject a connection whose request head is too long."""

    def malformed(self, connection: "HttpProtocol") -> None:
        """Reject a connection that does not speak HTTP."""

    def charge(self, connection: "HttpProtocol", price: float) -> float:
        """Charge for a request; return 0 if it is admitted, else the seconds until it would be."""


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
        """Start to wait for a request."""
        super().connection_made(transport)
        self.address = self._admission.address(self.client[0] if self.client else "")
        self._admission.add_pending(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting, and cancel the current response; of pipelined requests, uvicorn cancels only the last."""
        self._admission.remove_pending(self)
        if self._discarding is not None:
            self._discarding.cancel()
        self._cancel_response()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; reject the connection if the head is malformed or too long."""
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
        """Start a request, unless the connection is over."""
        if not self._is_over():
            super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Handle the request if it is an upgrade or its address can pay for it; otherwise reject it."""
        self._head = 0
        if self._is_over():
            return
        is_upgrade = self.parser.should_upgrade()
        if is_upgrade and self.parser.get_method() == b"CONNECT":
            self._admission.malformed(self)
            return
        self._is_handshake = is_upgrade and self._is_opening_handshake()
        if is_upgrade and not self._is_handshake:
            return
        path = unquote(httptools.parse_url(self.url).path.decode("ascii"))
        if self._is_handshake and path == self._paths.socket:
            wait = 0.0  # the upgrade policy decides about these
        else:
            wait = self._admission.charge(self, self._paths.prices.get(normpath(path), 1.0))
        if wait:
            self._over_budget(path, wait)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Receive a part of the body, which does not count as head."""
        self._head = 0
        if not self._is_over():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request, unless it will be parsed again without its `Upgrade`."""
        if not (self._is_over() or self.parser.should_upgrade()):
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        if not self.transport.is_closing():
            self._admission.add_pending(self)
        super().on_response_complete()

    def handle_websocket_upgrade(self) -> None:
        """Pass the connection to the WebSocket protocol with the path, the query and the headers that it needs."""
        self._admission.remove_pending(self)
        url = httptools.parse_url(self.url)
        self.url = b"?".join(filter(None, (url.path, url.query)))
        others = [header for header in self.headers if header[0] != b"upgrade"]
        self.headers[:] = [*others, (b"upgrade", b"websocket")]
        super().handle_websocket_upgrade()

    def refuse(self, status: bytes, body: bytes, retry_after: int | None = None) -> None:
        """Close; first send this response, unless another one has begun or must precede it.

        Discards input for `DISCARD_SECONDS` before closing. Closing at once would reset the connection, and the client
        would lose the response.
        """
        if self._is_idle() or self._is_unanswered():
            self._cancel_response()
            head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n"
            again = b"" if retry_after is None else b"retry-after: %d\r\n" % retry_after
            self.transport.write(head % (status, len(body)) + again + b"\r\n" + body)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self._discarding = self.loop.call_later(DISCARD_SECONDS, self.transport.close)

    def _is_idle(self) -> bool:
        """Whether no request waits for its response."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is None or cycle.response_complete

    def _is_unanswered(self) -> bool:
        """Whether exactly one request waits for its response, which has not begun."""
        return self.cycle is self._running and not self.cycle.response_started

    def _cancel_response(self) -> None:
        """Make the application that handles the current request end without writing."""
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()

    def _is_over(self) -> bool:
        """Whether further input gets no response."""
        return self._is_last or self._discarding is not None or self.transport.is_closing()

    def _should_upgrade(self) -> bool:
        return self._is_handshake

    def _is_opening_handshake(self) -> bool:
        """Whether this head, which has an `Upgrade`, is a WebSocket opening handshake (RFC 6455 section 4.1).

        Any other `Upgrade`, valid or not, is ignored (RFC 9110 section 7.8).
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
        """Parse. httptools stops at any `Upgrade`; unless it opens a WebSocket, parse the request again without it."""
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
        """Answer a probe all the same; reject any other request in turn, and close."""
        if path in self._paths.probes and self.parser.get_method() in _PROBING:
            self._answer_with(self._paths.probe)
            return
        retry_after = math.ceil(wait)
        if self._is_idle():
            self._admission.remove_pending(self)
            self.refuse(b"429 Too Many Requests", _OVER_BUDGET, retry_after)
            return
        self._answer_with(partial(_refuse_in_turn, retry_after))
        self._is_last = True

    def _answer_with(self, app: ASGIApp) -> None:
        """Handle this request with another application."""
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
        """Call the application. If the client has disconnected, log a line instead of a traceback."""
        try:
            await app(scope, receive, send)
        except (ClientDisconnect, OSError, RuntimeError):
            if not (cycle.disconnected or self.transport.is_closing()):
                raise
            cycle.disconnected = True
            self.logger.info("a client disconnected before it got a response")


async def _refuse_in_turn(retry_after: int, _scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(_OVER_BUDGET)),
        (b"connection", b"close"),
        (b"retry-after", b"%d" % retry_after),
    ]
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": _OVER_BUDGET})
