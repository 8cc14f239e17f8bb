"""The pipe: what goes to Redis without waiting for answers, over connections that are lost."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import anyio
import pytest
from redis import Redis

from stores.base import StoreUnreachableError
from stores.redis import pipe as module
from stores.redis.client import Argument, Client
from stores.redis.pipe import LOADS, Load, Pipe
from stores.redis.scripts import sha
from tests.support.proxy import proxy
from tests.support.redis import RedisServer, redis_server
from tests.support.server import free_port

PATIENCE = 10.0
ADD = """
if redis.call('SADD', KEYS[1] .. 'known', ARGV[1]) == 1 then redis.call('RPUSH', KEYS[1], ARGV[1]) end
return ARGV[1]
"""
"""Takes effect once, however often it is sent."""


class Node:
    """A pipe, what it is to send, and what it was told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.key = uuid4().hex
        self.pipe = Pipe(self.client, (ADD,), self._take, self._wake)
        self.told: list[int] = []
        self.sent: list[str] = []
        self.left = 0
        self._due: list[int] = []
        self._news = anyio.Event()

    def add(self, *numbers: int) -> None:
        """Have these added by one load."""
        self._due += numbers
        self.pipe.wake()

    def note(self, name: str) -> bool:
        """Have a name noted once what is due is on its way."""

        def note() -> None:
            self.sent.append(name)
            self._wake()

        return self.pipe.when_sent(note)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Return once something is so."""
        with anyio.fail_after(PATIENCE):
            while not is_so():
                with anyio.move_on_after(0.02):
                    await self._news.wait()
                self._news = anyio.Event()

    async def taken(self) -> None:
        """Return once what is due was taken."""
        await self.until(lambda: not self._due)

    def _take(self) -> Load:
        due, self._due = self._due, []
        commands: list[tuple[Argument, ...]] = [("EVALSHA", sha(ADD), 1, self.key, number) for number in due]
        self.left, is_whole = self.left - 1, self.left <= 0
        return Load([*commands], [lambda answer: self.told.append(int(answer)) for _ in due], [], is_whole)

    def _wake(self) -> None:
        self._news.set()


@asynccontextmanager
async def running(url: str, patience: float = 2.0) -> AsyncIterator[Node]:
    """Run a pipe; it is connected by then."""
    node = Node(Client(url, "n", patience))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(node.pipe.run)
        await node.until(lambda: not node.pipe.is_away)
        yield node
        tasks.cancel_scope.cancel()
    await node.client.close()


def added(server: RedisServer, node: Node) -> list[int]:
    """Return what Redis has, in the order of coming."""
    with Redis(port=server.port) as redis:
        found: Any = redis.lrange(node.key, 0, -1)
    return [int(each) for each in found]


@pytest.fixture
def own(tmp_path: Path, redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis that no other test uses."""
    with redis_server(free_port(), tmp_path) as server:
        yield server


async def test_without_waiting(own: RedisServer) -> None:
    """A load is sent before the answers to earlier ones; what waits for that hears of it, and not before."""
    async with running(own.url) as node:
        with own.frozen():
            for number in range(3):
                assert node.note(f"load {number}")
                node.add(number)
                assert node.sent == [f"load {each}" for each in range(number)]
                await node.until(lambda: len(node.sent) > number)  # noqa: B023
            assert not node.told
            assert not node.pipe.is_idle
        await node.until(lambda: node.pipe.is_idle)
        assert node.told == added(own, node) == [0, 1, 2]


async def test_a_lost_connection(redis: RedisServer) -> None:
    """What has no answer is sent again, all of it, in order; that it was sent is said once, also where it is lost."""
    async with proxy(redis.port) as network, running(f"redis://127.0.0.1:{network.port}/0") as node:
        network.mute()
        for number in range(3):
            assert node.note(f"load {number}")
            node.add(number, 10 + number)
            await node.taken()
        await node.until(lambda: added(redis, node) == [0, 10, 1, 11, 2, 12])
        assert not node.told
        await network.cut()
        await node.until(lambda: node.pipe.is_away)
        assert not node.note("nothing")
        node.add(3)
        network.mend()
        await node.until(lambda: len(node.told) == 7)
        assert node.told == added(redis, node) == [0, 10, 1, 11, 2, 12, 3]
        assert node.sent == ["load 0", "load 1", "load 2"]


async def test_what_waits_as_the_connection_is_lost(own: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for what cannot be sent."""
    monkeypatch.setattr(module, "SLOW_SECONDS", PATIENCE)
    async with running(own.url) as node:
        with own.frozen():
            for number in range(LOADS):
                node.add(number)
                await node.taken()
            node.add(LOADS)
            assert node.note("the last")
            await anyio.wait_all_tasks_blocked()
            assert not node.sent
            own.kill()
            await node.until(lambda: node.sent == ["the last"])
        assert node.pipe.is_away
        own.start()
        await node.until(lambda: len(node.told) == LOADS + 1)
        assert node.told == added(own, node) == list(range(LOADS + 1))


async def test_a_full_window(own: RedisServer) -> None:
    """Where too much is without an answer for too long Redis is away, until it answers; nothing is lost by that."""
    async with running(own.url, PATIENCE) as node:
        with own.frozen():
            for number in range(LOADS):
                node.add(number)
                await node.taken()
            assert not node.pipe.is_away
            node.add(LOADS)
            assert node.note("the last")
            await node.until(lambda: node.pipe.is_away)
            assert node.sent == ["the last"]
            assert not node.note("nothing")
        await node.until(lambda: len(node.told) == LOADS + 1)
        assert not node.pipe.is_away
        assert node.told == added(own, node) == list(range(LOADS + 1))
        assert node.sent == ["the last"]


async def test_a_script_that_is_not_known(own: RedisServer) -> None:
    """A server that has forgotten the scripts is given them again."""
    async with running(own.url) as node:
        with Redis(port=own.port) as redis:
            redis.script_flush()
        node.add(1)
        node.add(2)
        await node.until(lambda: len(node.told) == 2)
        assert added(own, node) == [1, 2]


async def test_an_error(own: RedisServer) -> None:
    """What Redis refuses, as it has no memory, is tried until it does not; meanwhile it counts as away."""
    async with running(own.url) as node:
        with Redis(port=own.port) as redis:
            redis.config_set("maxmemory", 1)
            node.add(1)
            node.add(2)
            await node.until(lambda: node.pipe.is_away)
            assert not node.told
            assert not added(own, node)
            assert "maxmemory" in node.pipe.why_stuck
            redis.config_set("maxmemory", 0)
        await node.until(lambda: len(node.told) == 2)
        assert node.told == added(own, node) == [1, 2]
        assert node.pipe.why_stuck == ""


class Deaf:
    """A client to a server that takes all, and answers so many loads of each connection."""

    def __init__(self) -> None:
        self.got: list[list[int]] = []
        self.answered = 0
        self._left = 0

    @asynccontextmanager
    async def wired(self, _sources: object) -> AsyncIterator["Deaf"]:
        self.got.append([])
        self._left = self.answered
        yield self

    async def send(self, commands: list[tuple[int, ...]]) -> None:
        self.got[-1] += [number for *_, number in commands]

    async def answers(self, count: int) -> list[int]:
        if not self._left:
            raise StoreUnreachableError("deaf")
        self._left -= 1
        return [0] * count


class Enough(Exception):  # noqa: N818 - it ends a test
    """Nothing more is to come."""


async def failing(node: Node, monkeypatch: pytest.MonkeyPatch, is_enough: Callable[[list[float]], bool]) -> list[float]:
    """Run a pipe until it has paused often enough; return for how long each time."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        assert node.pipe.is_away
        pauses.append(seconds)
        if is_enough(pauses):
            raise Enough

    monkeypatch.setattr(anyio, "sleep", sleep)
    with pytest.raises(Enough):
        await node.pipe.run()
    return pauses


@pytest.fixture
def deaf() -> Deaf:
    """A server that answers nothing."""
    return Deaf()


@pytest.fixture
def cut_off(deaf: Deaf) -> Node:
    """A pipe to it."""
    return Node(cast("Client", deaf))


async def test_failing_again_and_again(
    deaf: Deaf, cut_off: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What fails is sent again after longer and longer pauses; it is logged once, and nothing is ready meanwhile."""
    cut_off.add(1)
    pauses = await failing(cut_off, monkeypatch, lambda pauses: len(pauses) == 6)
    assert pauses == [module.RETRY_SECONDS * factor for factor in (1, 2, 4, 8, 8, 8)]
    assert deaf.got == [[1]] * 6
    assert cut_off.pipe.why_stuck == "deaf"
    (logged,) = caplog.records
    assert logged.getMessage() == "what was sent to the store goes again: deaf"


async def test_a_little_gets_through(deaf: Deaf, cut_off: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each connection gets one load through it goes on from there, without longer pauses."""
    deaf.answered = 1
    for number in range(LOADS):
        cut_off.add(number)
        cut_off.pipe._load()
    pauses = await failing(cut_off, monkeypatch, lambda _: len(deaf.got) == LOADS)
    assert set(pauses) == {module.RETRY_SECONDS}
    assert deaf.got == [list(range(number, LOADS)) for number in range(LOADS)]


async def test_what_is_not_whole(own: RedisServer) -> None:
    """Who waits for all that is due hears of it once the last of it is on its way."""
    async with running(own.url) as node:
        node.left = 2
        assert node.note("all")
        node.add(1)
        await node.until(lambda: node.told == [1])
        assert not node.sent
        node.add(2)
        await node.until(lambda: node.told == [1, 2])
        assert not node.sent
        node.add(3)
        await node.until(lambda: node.sent == ["all"])


async def test_draining(redis: RedisServer) -> None:
    """What is due goes out and is answered, without anything that runs."""
    node = Node(Client(redis.url, "n", 2.0))
    node.add(1, 2)
    await node.pipe.drain()
    assert node.pipe.is_idle
    assert node.told == added(redis, node) == [1, 2]
    await node.client.close()
