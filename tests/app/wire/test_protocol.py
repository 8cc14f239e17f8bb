"""Reading from the kernel, without a kernel."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.utils import apply_mask

from app.auth.keys import public_keys
from app.ops.logs import make_logger
from app.runtime import Plan, Runtime, running
from app.settings import Settings
from app.tables import load_routes
from app.wire.protocol import WebSocketProtocol
from schemas.prices import STRANGER_BYTES_PER_SECOND
from stores.memory import MemoryStores
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
    settings = Settings(jwt_public_key_path=keys.public_path, log_level="critical")
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
    protocol.open(runtime.gateway)
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
    protocol.open(runtime.gateway)
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
