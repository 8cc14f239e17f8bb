"""The bus: what goes in one load and what waits, and a Redis that bounds what waits for a subscriber."""

import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import anyio
import msgspec
import pytest
from redis.asyncio import Redis

from stores.base import Holder, User
from stores.bus import Home, Watcher
from stores.redis import streams
from stores.redis.bus import CALL_BYTES, LOAD_BYTES, RedisBus, Write
from stores.redis.pipe import Load
from stores.redis.replica import Replica
from stores.redis.stores import RedisStores
from stores.redis.streams import Again, Batch, Had, message_of
from tests.support.client import until
from tests.support.mesh import SPACE, Line, Store
from tests.support.redis import NOTHING_KEPT, RedisServer, redis_server
from tests.support.server import free_port
from tests.support.stores import running

ANN = User("ann")
FRAME = b"x" * 65_536
SMALL = 262_144
LIMIT = f"client-output-buffer-limit pubsub {4 * SMALL} {4 * SMALL} 1"


class Postman(Watcher):
    """Who hears of parcels."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def arrived(self, node: str, parcels: msgspec.Raw) -> None:
        self.numbers += [number for number, _ in msgspec.msgpack.decode(parcels)]


@pytest.fixture
def bus() -> RedisBus:
    """A bus that nothing runs, of a node `a`."""
    line = cast("Any", Line("a", Store()))
    made = RedisBus(line, Replica(line), line)
    made._pipe.is_away = False
    return made


def keep(bus: RedisBus, user: User, *numbers: int, frame: bytes = FRAME) -> None:
    """Have events kept, this node being the home."""
    bus._replica._put_home(user, Home("a", 1, 1))
    for number in numbers:
        bus.keep(user, frame, 1, number, seen={"b": number})


def loads(bus: RedisBus) -> list[Load]:
    """Return the loads that are due."""
    found = []
    while bus._pipe._due.is_set():
        bus._pipe._due = anyio.Event()
        found.append(bus._pipe._load())
    return found


def heads(command: Any) -> list[list[Any]]:
    """Return the heads of the writes in a call of the script."""
    return cast("list[list[Any]]", json.loads(command[4]))


def size(command: Any) -> int:
    """Return how long a command is."""
    return sum(len(part) for part in command if isinstance(part, bytes))


def calls(load: Load) -> list[Any]:
    """Return the calls of the script in a load."""
    return [command for command in load.commands if command[0] == "EVALSHA"]


def sent(load: Load, node: str) -> list[Any]:
    """Return what goes to a node by a load."""
    channel = SPACE.node(node)
    return [message_of(command[2]) for command in load.commands if command[:2] == ("PUBLISH", channel)]  # type: ignore[arg-type]


def test_little_goes_at_once(bus: RedisBus) -> None:
    """What is kept and sent in one turn is one call of the script an org, and then one publish a node."""
    for number in range(20):
        keep(bus, User(f"user-{number}"), 1, 2, frame=b"{}")
        keep(bus, User(f"user-{number}", "acme"), 1, frame=b"{}")
        bus.post("b", number, 100)
        bus.post("c", number, 100)
    (load,) = loads(bus)
    assert [command[0] for command in load.commands] == ["EVALSHA"] * 2 + ["PUBLISH"] * 2
    assert load.is_whole


def test_much_goes_by_several_loads(bus: RedisBus) -> None:
    """Calls and loads are bounded; of each org all is written, in order; nothing is told before all is written."""
    orgs, users = (None, "acme"), 120
    for number in range(users):
        for org in orgs:
            keep(bus, User(f"user-{number}", org), 1, 2)
        bus.post("b", number, 100)
    assert bus.when_sent(lambda: None)
    found = loads(bus)
    assert len(found) == pytest.approx(users * 2 * 2 * len(FRAME) / LOAD_BYTES, abs=2)
    for load in found:
        assert max(map(size, calls(load))) <= CALL_BYTES * 1.02
        assert sum(map(size, load.commands)) <= LOAD_BYTES * 1.02
    every = [call for load in found for call in calls(load)]
    for org in orgs:
        written = [head[1] for call in every if call[6] == json.dumps(org).encode() for head in heads(call)]
        assert written == [f"user-{number}" for number in range(users)]
    assert [load.is_whole for load in found] == [False] * (len(found) - 1) + [True]
    assert [len(sent(load, "b")) for load in found] == [0] * (len(found) - 1) + [1]
    assert [len(load.sent) for load in found] == [0] * (len(found) - 1) + [1]


def test_many_small_writes(bus: RedisBus) -> None:
    """A call does not do too much either, however short what it writes is."""
    for number in range(3000):
        keep(bus, User(f"user-{number}"), 1, frame=b"{}")
    (load,) = loads(bus)
    assert max(len(heads(call)) for call in calls(load)) <= CALL_BYTES // 1024


def test_no_org_holds_up_others(bus: RedisBus) -> None:
    """Orgs take turns, also where one always has more."""
    for number in range(200):
        keep(bus, User(f"user-{number}"), 1)
    keep(bus, User("user", "acme"), 1)
    first, *_ = loads(bus)
    assert b'"acme"' in [call[6] for call in calls(first)]


def test_an_opening_is_not_parted(bus: RedisBus) -> None:
    """What drops a mailbox goes with what writes it anew, so that a node that dies between loads has not lost it."""
    keep(bus, User("bob"), *range(1, 11))
    keep(bus, ANN)
    bus.open(ANN, {"res_1": 1}, {}, is_new=True)
    keep(bus, ANN, *range(1, 70))
    opened = [[head[0] for head in heads(call)] for load in loads(bus) for call in calls(load)]
    assert [kinds for kinds in opened if "open" in kinds] == [["keep", "open", "keep"]]


def test_what_goes_later_is_as_it_was(bus: RedisBus) -> None:
    """How far a user came is written with the events by which it did, also where these have to wait, and more comes."""
    seen = {"b": 1}
    for number in range(100):
        keep(bus, User(f"user-{number}"), 1)
    bus._replica._put_home(ANN, Home("a", 1, 1))
    bus.keep(ANN, FRAME, 1, 1, seen=seen)
    first = bus._pipe._load()
    seen["b"] = 2
    bus.keep(ANN, FRAME, 1, 2, seen=seen)
    assert not first.is_whole
    written = [head for load in loads(bus) for call in calls(load) for head in heads(call) if head[1] == "ann"]
    assert [(json.loads(head[6]), head[7]) for head in written] == [({"b": 1}, 1), ({"b": 2}, 1)]


def test_what_is_not_kept_any_more() -> None:
    """Little of it stays in what is to be written, however large each event is."""
    write = Write(["keep", "ann", 1, 1])
    for _ in range(50):
        write.add(FRAME, 8)
    assert 8 <= len(write.frames) <= 10
    assert write.size == pytest.approx(len(write.frames) * len(FRAME), rel=0.02)


def test_much_for_a_node(bus: RedisBus) -> None:
    """It waits until the node has what went before; meanwhile what is for others goes."""
    for number in range(200):
        bus.post("b", [number, FRAME], len(FRAME))
    first = sum((sent(load, "b") for load in loads(bus)), list[Batch]())
    assert sum(len(batch.parcels) for batch in first) <= streams.SUBSCRIBER_BYTES * 0.7
    assert bus.waiting > 100
    assert not bus.is_idle
    assert bus.is_away
    bus.post("b", [200, FRAME], len(FRAME))
    bus.post("c", [0, b""], 1)
    (load,) = loads(bus)
    assert (sent(load, "b"), len(sent(load, "c"))) == ([], 1)
    bus.hear(msgspec.msgpack.encode(Had("b", first[0].stream, first[-1].serial)))
    assert sent(loads(bus)[0], "b")[0].serial == first[-1].serial + 1
    while bus.waiting:
        bus.hear(msgspec.msgpack.encode(Had("b", first[0].stream, 1000)))
        loads(bus)
    assert not bus.is_away


def test_what_is_asked(bus: RedisBus) -> None:
    """Whoever is asked says how far it is, but asks for what it lacks where something is missing."""
    parcels = msgspec.Raw(msgspec.msgpack.encode([]))
    bus.hear(msgspec.msgpack.encode(Batch("b", 1, 1, 1, parcels, asks=True)))
    (load,) = loads(bus)
    assert sent(load, "b") == [Had("a", 1, 1)]
    bus.hear(msgspec.msgpack.encode(Batch("b", 1, 3, 1, parcels, asks=True)))
    (load,) = loads(bus)
    assert sent(load, "b") == [Again("a", 1, 2)]


@pytest.fixture
def strict(tmp_path: Path, redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis that cuts off a subscriber for whom a megabyte waits."""
    assert redis.port
    with redis_server(free_port(), tmp_path, (*NOTHING_KEPT, LIMIT)) as server:
        yield server


async def test_a_subscriber_is_not_cut_off(strict: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits while Redis is away arrives, though it is far more than may wait for a subscriber."""
    monkeypatch.setattr(streams, "SUBSCRIBER_BYTES", SMALL)
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(running(strict.url, name)) for name in ("a", "b")]
        postman = second.bus.watcher = Postman()
        strict.kill()
        first.bus.post("b", [0, FRAME], len(FRAME))
        await until(lambda: first.bus.is_away)
        for number in range(1, 128):
            first.bus.post("b", [number, FRAME], len(FRAME))
        strict.start()
        await until(lambda: len(postman.numbers) == 128)
        assert postman.numbers == list(range(128))
        assert await cut_off(strict) == 0


async def test_a_subscriber_that_was_cut_off(strict: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that missed more than may wait for a subscriber asks for it, and gets it bit by bit."""
    monkeypatch.setattr(streams, "SUBSCRIBER_BYTES", SMALL)
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(running(strict.url, name)) for name in ("a", "b")]
        postman = second.bus.watcher = Postman()
        for number in range(64):
            first.bus.post("b", [number, FRAME], len(FRAME))
        await until(lambda: len(postman.numbers) == 64)
        (incoming,) = second.bus._incoming.values()
        incoming.expected, postman.numbers = 1, []
        second.bus.ask_again(["a"])
        await until(lambda: len(postman.numbers) == 64)
        assert postman.numbers == list(range(64))
        assert await cut_off(strict) == 0


async def test_closing_with_much(strict: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that stops sends all that it has, though it does not hear any more how far others are."""
    monkeypatch.setattr(streams, "SUBSCRIBER_BYTES", SMALL)
    async with AsyncExitStack() as stack:
        second = await stack.enter_async_context(running(strict.url, "b"))
        postman = second.bus.watcher = Postman()
        first: RedisStores
        async with running(strict.url, "a") as first:
            await first.peers.claim(ANN, Holder("a", 1))
            for number in range(10):
                first.bus.post("b", [number, FRAME], len(FRAME))
        await until(lambda: len(postman.numbers) == 10)


async def cut_off(server: RedisServer) -> int:
    """Return how many clients Redis has cut off for what waited for them."""
    async with Redis(port=server.port) as redis:
        stats = await redis.info("stats")
    return int(stats.get("client_output_buffer_limit_disconnections", 0))
