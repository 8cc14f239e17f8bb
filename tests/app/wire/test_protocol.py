"""Reading from the kernel, without a kernel."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.utils import apply_mask

from app.auth.keys import public_keys
from app.compose.lifespan import running
from app.compose.plan import Plan
from app.compose.runtime import Runtime
from app.ops.logs import make_logger
from app.settings import MEMORY, Settings
from app.tables import load_routes
from app.wire.frames import FRAMES_AT_ONCE, FrameReader, Ping
from app.wire.protocol import WebSocketProtocol
from schemas.prices import STRANGER_BYTES_PER_SECOND
from stores.memory.stores import MemoryStores
from tests.app.wire.test_hot_path import MASK, Server, Wire
from tests.support.tokens import Keys


class Tap(Wire):
    """A transport that says whether it is read from."""

    is_paused = False

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


@pytest.fixture
async def runtime(keys: Keys) -> AsyncIterator[Runtime]:
    """Run an application."""
    settings = Settings(store_url=MEMORY, jwt_public_key_path=keys.public_path, log_level="critical")
    plan = Plan(settings, public_keys(settings), load_routes(()), make_logger(settings))
    async with running(plan, MemoryStores()) as runtime:
        yield runtime


@pytest.mark.parametrize(("frames", "is_paused"), [(1, False), (2, True)])
async def test_a_stranger_sends_much(runtime: Runtime, frames: int, *, is_paused: bool) -> None:
    """A stranger is read a frame a second; what comes in one large read counts as well, and is paused for longer."""
    tap, server = Tap(), Server()
    wire: Any = tap
    config: Any = server
    protocol = WebSocketProtocol(config, config, {})
    protocol.connection_made(wire)
    protocol.open(runtime.gateway.open)
    payload = b'{"event":"PING","data":{"x":"%b"}}' % (b"x" * 60_000)
    frame = b"\x81\xfe" + len(payload).to_bytes(2, "big") + MASK + apply_mask(payload, MASK)
    protocol.data_received(frame * frames)
    for _ in range(3):
        await asyncio.sleep(0)
    assert tap.is_paused is is_paused


async def test_the_pause_is_no_credit(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the long run no more is read than may be: the time for which reading paused is not counted twice."""
    loop = asyncio.get_running_loop()
    now = 1000.0
    pauses: list[tuple[float, Callable[[], None]]] = []
    monkeypatch.setattr(loop, "time", lambda: now)
    monkeypatch.setattr(loop, "call_later", lambda seconds, work: pauses.append((seconds, work)))
    config: Any = Server()
    wire: Any = Tap()
    protocol = WebSocketProtocol(config, config, {})
    protocol.connection_made(wire)
    protocol.open(runtime.gateway.open)
    payload = b'{"event":"PING","data":{"x":"%b"}}' % (b"x" * 65_000)
    frame = b"\x81\xfe" + len(payload).to_bytes(2, "big") + MASK + apply_mask(payload, MASK)
    for _ in range(10):
        protocol.data_received(frame * 2)
        while pauses:
            seconds, work = pauses.pop()
            now += seconds
            work()
        await asyncio.sleep(0)
    assert 20 * len(frame) / STRANGER_BYTES_PER_SECOND == pytest.approx(now - 1000.0, abs=1)


def texts(count: int) -> bytes:
    """Return so many small text frames."""
    return (b"\x81\x82" + MASK + apply_mask(b"{}", MASK)) * count


def test_so_many_frames_at_once() -> None:
    """However much comes in one read, some frames at a time are read; the rest comes with the next calls, in order."""
    reader = FrameReader(1000)
    assert len(reader.feed(texts(100))) == FRAMES_AT_ONCE
    assert reader.unread == texts(100 - FRAMES_AT_ONCE)
    assert len(reader.feed(texts(1))) == 101 - FRAMES_AT_ONCE
    assert reader.unread == b""
    pings = (b"\x89\x80" + MASK) * 100
    assert len(reader.feed(pings + texts(1))) == reader.extras == FRAMES_AT_ONCE
    events = reader.feed(b"")
    assert [type(event) for event in events] == [Ping] * (100 - FRAMES_AT_ONCE) + [bytes]


def test_nothing_is_read_after_a_stop() -> None:
    """What was put aside, and what still comes, is discarded."""
    reader = FrameReader(1000)
    reader.feed(texts(100))
    reader.stop()
    assert reader.feed(texts(100)) == []
    assert (reader.feed(b""), reader.unread) == ([], b"")
