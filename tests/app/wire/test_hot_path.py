"""What it costs, counted: a message's calls and writes to the kernel, and what is left of a connection.

Speed itself is measured by hand, not here.
"""

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator, Iterator
from types import FrameType
from typing import Any

import anyio
import pytest
from websockets.utils import apply_mask

from app.auth.keys import public_keys
from app.compose.lifespan import running
from app.compose.plan import Plan
from app.compose.runtime import Runtime
from app.gateway.connection import Connection
from app.ops.logs import make_logger
from app.settings import MEMORY, Settings
from app.tables import load_routes
from app.wire.protocol import WebSocketProtocol
from stores.memory.stores import MemoryStores
from tests.support.tokens import Keys

MASK = b"\x12\x34\x56\x78"
CALLS_A_MESSAGE = 52
MESSAGE = {"content": {"t": 1, "body": "x" * 100}, "type": "ai-request", "correlationId": "cor_1"}


class Wire:
    """A transport that notes what is written to it."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.written = asyncio.Event()

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self.written.set()

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name == "peername" else default

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


class Server:
    """What uvicorn gives a protocol."""

    connections: set[object] = set()  # noqa: RUF012 - as uvicorn has it
    loaded_app = None
    root_path = ""


class Socket:
    """A client on our protocol, without a kernel between."""

    def __init__(self, runtime: Runtime) -> None:
        self.wire = Wire()
        server: Any = Server()
        transport: Any = self.wire
        self.protocol = WebSocketProtocol(server, server, {})
        self.protocol.connection_made(transport)
        self.protocol.open(runtime.gateway.open)

    async def say(self, event: str, **data: object) -> Any:
        """Send an event, and return the data of what comes back over this socket, if anything."""
        self.wire.writes.clear()
        self.wire.written.clear()
        self.protocol.data_received(frame(event, **data))
        with anyio.move_on_after(1):
            await self.wire.written.wait()
        return self.read()

    def read(self) -> Any:
        """Return the data of the last frame that was written."""
        last = b"".join(self.wire.writes)
        return json.loads(last[last.rindex(b'{"event"') :])["data"] if last else None


def frame(event: str, **data: object) -> bytes:
    """Return a masked text frame."""
    payload = json.dumps({"event": event, "data": data}).encode()
    return b"\x81\xfe" + len(payload).to_bytes(2, "big") + MASK + apply_mask(payload, MASK)


@pytest.fixture
async def pair(keys: Keys) -> AsyncIterator[tuple[Runtime, Socket, Socket, str]]:
    """Connect ann and bob in a session."""
    settings = Settings(
        store_url=MEMORY, jwt_public_key_path=keys.public_path, log_level="warning", rate_limit_burst=10**6
    )
    plan = Plan(settings, public_keys(settings), load_routes(()), make_logger(settings))
    async with running(plan, MemoryStores()) as runtime:
        ann, bob = Socket(runtime), Socket(runtime)
        for socket, user in ((ann, "ann"), (bob, "bob")):
            await socket.say("AUTH", token=keys.token(user), padding="x" * 100)
            await socket.say("PEER_REGISTER", padding="x" * 100)
        await ann.say("CONNECTION_REQUEST", targetId="bob", padding="x" * 100)
        await asyncio.sleep(0)
        request = bob.read()
        session = await bob.say("CONNECTION_RESPONSE", requestId=request["requestId"], accepted=True, p="x" * 100)
        yield runtime, ann, bob, session["sessionId"]


async def test_calls(pair: tuple[Runtime, Socket, Socket, str]) -> None:
    """A message takes a few dozen calls from its bytes in to its bytes out, and not one more with time.

    Once a millisecond the timestamp is made anew, which costs a few more; so the least of several counts.
    """
    runtime, ann, bob, session_id = pair
    message = frame("SEND_MESSAGE", sessionId=session_id, **MESSAGE)
    for _ in range(3):
        ann.protocol.data_received(message)
        runtime.delivery.write_scheduler.flush()
    bob.wire.writes.clear()

    def pass_on() -> None:
        ann.protocol.data_received(message)
        runtime.delivery.write_scheduler.flush()

    calls = min(count_calls(pass_on) for _ in range(5))
    assert len(bob.wire.writes) == 5
    assert calls <= CALLS_A_MESSAGE, calls


async def test_writes(pair: tuple[Runtime, Socket, Socket, str]) -> None:
    """However many messages come for a socket in one turn of the loop, they go out in one write."""
    _, ann, bob, session_id = pair
    bob.wire.writes.clear()
    for _ in range(8):
        ann.protocol.data_received(frame("SEND_MESSAGE", sessionId=session_id, **MESSAGE) * 8)
    assert bob.wire.writes == []
    await asyncio.sleep(0)
    (write,) = bob.wire.writes
    assert write.count(b"MESSAGE_RECEIVED") == 64


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Free nothing but by counting references."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("close_code", [b"", b"\x03\xe8"])
@pytest.mark.parametrize("capabilities", [None, ["resume"]])
@pytest.mark.parametrize("events", [(), ("AUTH",), ("AUTH", "PEER_REGISTER")])
@pytest.mark.usefixtures("without_collector")
async def test_nothing_is_left_of_a_connection(
    pair: tuple[Runtime, Socket, Socket, str], keys: Keys, events: tuple[str, ...], capabilities: Any, close_code: bytes
) -> None:
    """However far it came, and whether it is cut or closed: a connection that has ended is freed without the collector.

    The collector would come late, since sockets live long, and memory would grow with each that comes and goes.
    """
    runtime = pair[0]
    before = _connections()
    cat = Socket(runtime)
    data = {"AUTH": {"token": keys.token("cat"), "capabilities": capabilities}}
    for event in events:
        await cat.say(event, padding="x" * 100, **data.get(event, {}))
    assert _connections() == before + 1
    if close_code:
        cat.protocol.data_received(b"\x88\x82" + MASK + apply_mask(close_code, MASK))
    cat.protocol.connection_lost(None)
    del cat
    for _ in range(10):  # turns of the loop, in which what follows from the end is done
        await asyncio.sleep(0)
    assert _connections() == before


async def test_nothing_is_left_of_a_superseded_connection(
    pair: tuple[Runtime, Socket, Socket, str], keys: Keys, without_collector: None
) -> None:
    """Nor of one whose place another took."""
    before = _connections()
    again = Socket(pair[0])
    await again.say("AUTH", token=keys.token("bob"), padding="x" * 100)
    pair[2].protocol.connection_lost(None)
    for _ in range(10):
        await asyncio.sleep(0)
    assert _connections() == before


def _connections() -> int:
    return sum(type(each) is Connection for each in gc.get_objects())


def count_calls(work: Any) -> int:
    """Return how many functions a piece of work calls."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls
