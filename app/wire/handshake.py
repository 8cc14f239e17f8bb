"""The opening handshake (RFC 6455 section 4.2) between uvicorn's HTTP protocol and the ASGI application."""

import base64
import binascii
import hashlib
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import msgspec
import uvicorn

from schemas.errors import ErrorCode

HANDOVER = "peersync.handover"
_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16
_JSON = (b"content-type", b"application/json")

Headers = list[tuple[bytes, bytes]]
Refusal = tuple[int, str, str, tuple[tuple[bytes, bytes], ...]]
"""A status, an error code, a message and additional headers."""


class Handshake:
    """Calls the application with the upgrade request, and writes its response.

    To take the connection over, the application accepts and then calls `scope["extensions"][HANDOVER]["open"]`.
    """

    def __init__(self, config: uvicorn.Config, app_state: dict[str, Any], write: Callable[[bytes], None]) -> None:
        self._app = config.loaded_app
        self._root_path = config.root_path
        self._app_state = app_state
        self._write = write
        self._key = b""
        self._answer: dict[str, Any] = {}
        self.is_accepted = False

    def scope(self, request: bytes, connection: dict[str, Any]) -> dict[str, Any] | None:
        """Return the ASGI scope of an upgrade request; if it is invalid, write an error response and return None."""
        head, *lines = request.rstrip(b"\r\n").split(b"\r\n")
        method, target, _ = head.split(b" ", 2)
        headers = [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in lines)]
        refusal = self._check(method, dict(headers))
        if refusal is not None:
            self._refuse(*refusal)
            return None
        path, _, query = target.partition(b"?")
        return {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "path": self._root_path + unquote(path.decode("ascii")),
            "raw_path": self._root_path.encode() + path,
            "root_path": self._root_path,
            "query_string": query,
            "headers": headers,
            "subprotocols": [],
            "state": self._app_state.copy(),
            **connection,
        }

    async def run(self, scope: dict[str, Any]) -> None:
        """Call the application; if it raises, log the exception and respond with 500."""
        try:
            await self._app(scope, self._receive, self._send)
        except Exception:
            logging.getLogger("uvicorn.error").exception("the application failed during a WebSocket handshake")
        if not self.is_accepted and not self._answer:
            self._refuse(500, ErrorCode.INTERNAL, "Internal error")

    def _check(self, method: bytes, headers: dict[bytes, bytes]) -> Refusal | None:
        if method != b"GET":
            return 405, "METHOD_NOT_ALLOWED", "A WebSocket handshake must use GET", ((b"allow", b"GET"),)
        if headers.get(b"sec-websocket-version") != b"13":
            versions = ((b"sec-websocket-version", b"13"),)
            return 426, "UPGRADE_REQUIRED", "Sec-WebSocket-Version must be 13 (RFC 6455)", versions
        self._key = headers.get(b"sec-websocket-key", b"").strip()
        if _is_key(self._key):
            return None
        return 400, "BAD_REQUEST", "Sec-WebSocket-Key must be 16 bytes in base64 (RFC 6455)", ()

    def _refuse(self, status: int, code: str, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self._respond(status, [_JSON, *headers], msgspec.json.encode({"code": code, "message": message}))

    async def _receive(self) -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            self._accept(list(message.get("headers") or ()))
        elif kind == "websocket.close":
            self._answer = message
            self._refuse(403, "FORBIDDEN", "The application does not accept this WebSocket")
        elif kind == "websocket.http.response.start":
            self._answer = message
        elif kind == "websocket.http.response.body":
            self._respond(self._answer["status"], list(self._answer["headers"]), message.get("body", b""))

    def _accept(self, headers: Headers) -> None:
        self.is_accepted = True
        digest = hashlib.sha1(self._key + _ACCEPT_GUID, usedforsecurity=False).digest()
        upgrade = [(b"upgrade", b"websocket"), (b"connection", b"Upgrade")]
        self._write(_head(101, [*upgrade, (b"sec-websocket-accept", base64.b64encode(digest)), *headers]))

    def _respond(self, status: int, headers: Headers, body: bytes) -> None:
        rest = [(name, value) for name, value in headers if name.lower() != b"content-length"]
        length = (b"content-length", str(len(body)).encode())
        self._write(_head(status, [*rest, length, (b"connection", b"close")]) + body)


def _head(status: int, headers: Headers) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(), *(b": ".join(header) for header in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False
