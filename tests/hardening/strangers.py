"""Strangers in a process of their own: `python -m tests.hardening.strangers PORT COUNT`, until it is ended.

Some offer 40 MiB each, of one kind or another, once; as many keep half-sent requests or silent sockets there.
"""

import asyncio
import struct
import sys

import anyio

from tests.hardening.crowd import loopback

OFFER = 40 * 2**20
CHUNK = b" " * 65_536
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ONE_FRAME = b"\x81\xff" + struct.pack("!Q", OFFER) + b"\0" * 4
FRAGMENT = b"\x01\xfe" + struct.pack("!H", 60_000) + b"\0" * 4 + b" " * 60_000
MORE = b"\x00\xfe" + struct.pack("!H", 60_000) + b"\0" * 4 + b" " * 60_000
MESSAGE = b"\x81\xfe" + struct.pack("!H", 60_000) + b"\0" * 4 + b" " * 60_000
HEAD = b"GET /ws HTTP/1.1\r\nX: "
OFFERS = (
    (UPGRADE, ONE_FRAME, CHUNK),
    (UPGRADE, FRAGMENT, MORE),
    (UPGRADE, MESSAGE, MESSAGE),
    (HEAD, CHUNK, CHUNK),
)


class Stranger(asyncio.Protocol):
    """Offers 40 MiB, as fast as they are taken, until it is cut."""

    def __init__(self, opening: bytes, first: bytes, rest: bytes) -> None:
        self._opening = opening
        self._first = first
        self._rest = rest
        self._is_writable = True
        self._offered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._opening)
        if self._opening is HEAD:
            self._begin()

    def data_received(self, data: bytes) -> None:
        """Begin with the 101; whatever else comes is not read."""
        if not self._offered and data.startswith(b"HTTP/1.1 101 "):
            self._begin()

    def _begin(self) -> None:
        self._transport.write(self._first)
        self._offer()

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        self._offer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._offered = OFFER

    def _offer(self) -> None:
        if self._is_writable and self._offered < OFFER and not self._transport.is_closing():
            self._offered += len(self._rest)
            self._transport.write(self._rest)
            asyncio.get_running_loop().call_soon(self._offer)


async def main(port: int, count: int) -> None:
    """Offer and knock."""
    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(_offer, port, loopback(number), OFFERS[number % len(OFFERS)])
            tasks.start_soon(_knock, port, loopback(number), UPGRADE if number % 2 else UPGRADE[:-2])


async def _offer(port: int, address: str, offer: tuple[bytes, bytes, bytes]) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: Stranger(*offer), "127.0.0.1", port, local_addr=(address, 0))


async def _knock(port: int, address: str, opening: bytes) -> None:
    while True:
        try:
            async with await anyio.connect_tcp("127.0.0.1", port, local_host=address) as stream:
                await stream.send(opening)
                while True:
                    await stream.receive()
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
            await anyio.sleep(1)


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]), int(sys.argv[2]))
