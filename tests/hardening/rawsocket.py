"""A socket that sends any bytes, and takes what the server answers."""

import asyncio
import re
import struct
from collections import deque

import anyio

PATIENCE = 30.0
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
OUR_PONG = b"\x8a\x80\0\0\0\0"
NAME = re.compile(rb'\{"event":"(\w+)"')
CUT = 1006


class RawSocket(asyncio.Protocol):
    """An upgraded connection. `code` is the server's close code; 1005 if it gave none, 1006 if it just cut."""

    def __init__(self) -> None:
        self.code: int | None = None
        self._texts: deque[bytes] = deque()
        self._buffer = b""
        self._is_open = False
        self._waiter: asyncio.Future[None] | None = None

    @classmethod
    async def connect(cls, port: int, source: str) -> "RawSocket":
        """Connect and upgrade."""
        loop = asyncio.get_running_loop()
        _, socket = await loop.create_connection(cls, "127.0.0.1", port, local_addr=(source, 0))
        with anyio.fail_after(PATIENCE):
            while not socket._is_open and socket.code is None:
                await socket._wait()
        return socket

    def send(self, wire: bytes) -> None:
        """Send these bytes as they are."""
        self._transport.write(wire)

    async def next_text(self) -> bytes | None:
        """Return the server's next text; None if it closed."""
        with anyio.fail_after(PATIENCE):
            while not self._texts and self.code is None:
                await self._wait()
        return self._texts.popleft() if self._texts else None

    async def until(self, part: bytes) -> bytes:
        """Return the next text that has this part; raises `AssertionError` if the server closes."""
        while (text := await self.next_text()) is None or part not in text:
            assert text is not None, self.code
        return text

    def cut(self) -> None:
        """Lose the connection."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(UPGRADE)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_open:
            head, end, self._buffer = self._buffer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 "), head
            assert end, head
            self._is_open = True
        while self.code is None and self._take_frame():
            pass
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.code = self.code or CUT
        self._wake()

    def _take_frame(self) -> bool:
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        start, length = 2, buffer[1]
        if length >= 126:
            start = 4 if length == 126 else 10
            if len(buffer) < start:
                return False
            (length,) = struct.unpack("!H" if start == 4 else "!Q", buffer[2:start])
        if len(buffer) < start + length:
            return False
        self._buffer = buffer[start + length :]
        self._take(buffer[0], buffer[start : start + length])
        return True

    def _take(self, first: int, payload: bytes) -> None:
        if first == TEXT:
            self._texts.append(payload)
        elif first == PING:
            self._transport.write(OUR_PONG)
        elif first != PONG:
            assert first == CLOSE, first
            self.code = int.from_bytes(payload[:2], "big") or 1005
            self._transport.abort()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def name_of(text: bytes) -> str:
    """Return the name of an event without decoding the rest, which may be anything."""
    match = NAME.match(text)
    assert match, text[:200]
    return match[1].decode()
