"""Strangers who offer much and never authenticate, and others who only knock."""

import asyncio
import struct
import sys
from collections.abc import Callable, Iterator
from itertools import count
from time import perf_counter

import anyio
import pytest

from tests.hardening.crowd import Peer, all_of, loopback, metric, resident_mib
from tests.support.server import Server, serving
from tests.support.tokens import Keys

FULL = 1000
OFFER = 40 * 2**20
CHUNK = b" " * 65_536
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ONE_FRAME = b"\x81\xff" + struct.pack("!Q", OFFER) + b"\0" * 4
FRAGMENT = b"\x01\xff" + struct.pack("!Q", 60_000) + b"\0" * 4 + b" " * 60_000
MORE = b"\x00\xff" + struct.pack("!Q", 60_000) + b"\0" * 4 + b" " * 60_000
MESSAGE = b"\x81\xff" + struct.pack("!Q", 60_000) + b"\0" * 4 + b" " * 60_000
HEAD = b"GET /ws HTTP/1.1\r\nX: "
OFFERS = {
    "a frame of 40 MiB": (UPGRADE, ONE_FRAME, CHUNK),
    "a message of 40 MiB in fragments": (UPGRADE, FRAGMENT, MORE),
    "40 MiB in messages": (UPGRADE, MESSAGE, MESSAGE),
    "a head of 40 MiB": (HEAD, CHUNK, CHUNK),
}


class Stranger(asyncio.Protocol):
    """Offers 40 MiB, as fast as they are taken, until it is cut."""

    def __init__(self, opening: bytes, first: bytes, rest: bytes) -> None:
        self._opening = opening
        self._first = first
        self._rest = rest
        self._is_writable = True
        self._offered = 0
        self.is_gone = anyio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._opening + self._first)
        self._offer()

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        self._offer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._offered = OFFER
        self.is_gone.set()

    def _offer(self) -> None:
        if self._is_writable and self._offered < OFFER and not self._transport.is_closing():
            self._offered += len(self._rest)
            self._transport.write(self._rest)
            asyncio.get_running_loop().call_soon(self._offer)


@pytest.fixture
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server."""
    with serving(keys, tmp_path_factory.mktemp("knocking"), log_level="error") as server:
        yield server


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_offers(server: Server, scale: Callable[[int], int], report: Callable[[str, int, str], None]) -> None:
    """Memory grows by 50 MiB at most, and whoever has a token gets in meanwhile."""
    strangers = scale(FULL)
    await _log_in(server, 0)
    before = resident_mib(server)
    async with anyio.create_task_group() as tasks:
        for kind in OFFERS.values():
            tasks.start_soon(_offer, server, kind, strangers // len(OFFERS))
        knocking = await tasks.start(_knock, server, strangers)
        seconds = [await _log_in(server, number) for number in range(1, 11)]
        knocking.cancel()
    grown = resident_mib(server, peak=True) - before
    report(
        "sockets before authentication, each offering 40 MiB, and as many half-sent requests",
        strangers,
        f"memory +{grown:.0f} MiB at most; ten real logins meanwhile took {max(seconds):.2f} s at most",
    )
    assert grown < 50
    assert metric(server, 'peersync_refusals_total{limit="message_bytes"}') >= strangers // 2


async def _offer(server: Server, kind: tuple[bytes, bytes, bytes], times: int) -> None:
    async def one(number: int) -> None:
        address = loopback(number)
        try:
            _, stranger = await asyncio.get_running_loop().create_connection(
                lambda: Stranger(*kind), "127.0.0.1", server.port, local_addr=(address, 0)
            )
        except OSError:
            return
        with anyio.fail_after(60):
            await stranger.is_gone.wait()

    await all_of(one, times, at_once=times)


async def _knock(
    server: Server, times: int, *, task_status: anyio.abc.TaskStatus[anyio.CancelScope] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Keep so many half-sent requests there, and as many sockets that say nothing, until cancelled."""
    with anyio.CancelScope() as scope:
        task_status.started(scope)
        async with anyio.create_task_group() as tasks:
            for number in range(times):
                tasks.start_soon(_knock_again, server, loopback(number), UPGRADE if number % 2 else UPGRADE[:-2])


async def _knock_again(server: Server, address: str, opening: bytes) -> None:
    for _ in count():
        try:
            stream = await anyio.connect_tcp("127.0.0.1", server.port, local_host=address)
            async with stream:
                await stream.send(opening)
                while True:
                    await stream.receive()
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
            await anyio.sleep(0.5)


async def _log_in(server: Server, number: int) -> float:
    """Return how long it takes to be registered, in seconds."""
    token = server.keys.token(f"user-{number}")
    began = perf_counter()
    peer = await Peer().connect(server.url, f"127.1.0.{number + 1}")
    await peer.join(token)
    took = perf_counter() - began
    await peer.leave()
    return took
