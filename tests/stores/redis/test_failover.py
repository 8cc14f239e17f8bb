"""The logs after a failover that lost the last writes: whoever lacks something is told, and nobody else."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis

from stores.log import Appended, Event, Outcome
from stores.model import User
from stores.redis.stores import RedisStores
from tests.support.client import until
from tests.support.logs import Socket, append, event, tell
from tests.support.proxy import Proxy, proxy
from tests.support.redis import NOTHING_KEPT, RedisServer, redis_server
from tests.support.server import free_port
from tests.support.stores import running

BOB = User("bob")
EVE = User("eve")


class Pair:
    """Two nodes, each with a network of its own to a master, whose replica takes over."""

    def __init__(self, master: RedisServer, replica: RedisServer, networks: list[Proxy]) -> None:
        self.networks = networks
        self._master = Redis(port=master.port)
        self._replica = Redis(port=replica.port)
        self._port = replica.port
        self.one: RedisStores
        self.two: RedisStores

    def lose_the_rest(self) -> None:
        """Have the replica get nothing of what is written from now on."""
        self._master.set("written", 1)  # WAIT looks only at what its own connection wrote, and what came before that
        assert self._master.wait(1, 5000) == 1
        self._replica.replicaof("NO", "ONE")

    async def fail_over(self, *networks: Proxy) -> None:
        """Have these networks lead to the replica."""
        for network in networks:
            network.lead_to(self._port)
            await network.cut()
            network.mend()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    kept = [*NOTHING_KEPT, "repl-diskless-sync-delay 0"]
    with ExitStack() as servers:
        master = servers.enter_context(redis_server(free_port(), tmp_path, kept))
        follows = [*NOTHING_KEPT, f"replicaof 127.0.0.1 {master.port}"]
        replica = servers.enter_context(redis_server(free_port(), tmp_path, follows))
        name = uuid4().hex
        async with AsyncExitStack() as stack:
            networks = [await stack.enter_async_context(proxy(master.port)) for _ in range(2)]
            urls = [f"redis://127.0.0.1:{network.port}/0?namespace={name}" for network in networks]
            made = Pair(master, replica, networks)
            made.one = await stack.enter_async_context(running(urls[0], "one"))
            made.two = await stack.enter_async_context(running(urls[1], "two"))
            yield made


def queue(stores: RedisStores, *events: Event) -> list[Appended]:
    """Append without waiting; the list gets what becomes of each."""
    told: list[Appended] = []
    stores.log.append(events, done=lambda _, appended: told.append(appended))
    return told


async def away(stores: RedisStores) -> None:
    """Have BOB away with a token, and nothing kept."""
    await (await Socket(stores, BOB).come("t1")).go()


async def resumes(stores: RedisStores, offset: int) -> list[bytes] | None:
    """Return what BOB gets after an offset; None if it has to start over."""
    socket = Socket(stores, BOB)
    return socket.payloads if await socket.resume("t1", offset, "t2") else None


async def test_nothing_lost(pair: Pair) -> None:
    """What the replica has is enough: nobody starts over, and what waited comes once and in order."""
    live = await Socket(pair.two, EVE).come("t1")
    await away(pair.two)
    await tell(pair.one, BOB, "a", "b")
    await tell(pair.one, EVE, "a", "b")
    pair.lose_the_rest()
    await pair.networks[0].cut()
    told = queue(pair.one, event(BOB, "c"), event(EVE, "c"))
    await pair.fail_over(*pair.networks)
    await until(lambda: len(told) == 2)
    assert await resumes(pair.two, 0) == [b"a", b"b", b"c"]
    await until(lambda: live.payloads == [b"a", b"b", b"c"])
    assert not live.is_lost


async def test_nothing_comes_after(pair: Pair) -> None:
    await away(pair.one)
    await tell(pair.one, BOB, "a")
    pair.lose_the_rest()
    await tell(pair.one, BOB, "b")
    await pair.fail_over(*pair.networks)
    await tell(pair.one, EVE, "x")
    assert await resumes(pair.two, 0) is None


@pytest.mark.parametrize("count", [1, 2])
async def test_the_same_node_goes_on(pair: Pair, count: int) -> None:
    """What waited at the node that appended takes the offset of what was lost, which hides that it was."""
    await away(pair.one)
    await tell(pair.one, BOB, "a")
    pair.lose_the_rest()
    assert await tell(pair.one, BOB, "b") == [Outcome.QUEUED]
    await pair.networks[0].cut()
    told = queue(pair.one, *(event(BOB, f"c{number}") for number in range(count)))
    await pair.fail_over(*pair.networks)
    await until(lambda: len(told) == count)
    assert await resumes(pair.two, 0) is None


async def test_another_node_goes_on(pair: Pair) -> None:
    """Another node takes the offset before the one that appended what was lost is back."""
    await away(pair.two)
    await tell(pair.one, BOB, "a")
    pair.lose_the_rest()
    assert await tell(pair.one, BOB, "b") == [Outcome.QUEUED]
    await pair.fail_over(pair.networks[1])
    await tell(pair.two, BOB, "c")
    await pair.fail_over(pair.networks[0])
    await tell(pair.one, EVE, "x")
    assert await resumes(pair.two, 0) is None


@pytest.mark.parametrize("first", [0, 1], ids=["the node that appended", "its own node"])
async def test_somebody_who_is_there(pair: Pair, first: int) -> None:
    """A socket with what was lost is closed when another event takes its offset, whichever node is back first.

    If that is its own, this one finds as many events as it had.
    """
    live = await Socket(pair.two, BOB).come("t1")
    await tell(pair.one, BOB, "a")
    pair.lose_the_rest()
    await tell(pair.one, BOB, "b")
    await until(lambda: live.payloads == [b"a", b"b"])
    await pair.fail_over(pair.networks[first])
    await append((pair.one, pair.two)[first], event(BOB, "c"))
    await pair.fail_over(pair.networks[1 - first])
    await tell(pair.one, EVE, "x")
    await until(lambda: live.is_lost)


async def test_whoever_started_over_meanwhile(pair: Pair) -> None:
    """A log that is new on the new master lacks nothing."""
    await away(pair.one)
    await tell(pair.one, BOB, "a")
    pair.lose_the_rest()
    await tell(pair.one, BOB, "b")
    await pair.fail_over(pair.networks[1])
    live = await Socket(pair.two, BOB).come("t5")
    await pair.fail_over(pair.networks[0])
    await tell(pair.one, BOB, "c")
    await until(lambda: live.payloads == [b"c"])
    assert not live.is_lost


async def test_a_crash_that_loses_the_last_second(tmp_path: Path) -> None:
    """A server that comes back on its port with what was on its disk is as a replica that took over."""
    with redis_server(free_port(), tmp_path) as server:
        async with running(server.url, "one") as one:
            await away(one)
            await tell(one, BOB, "a")
            server.save()
            await tell(one, BOB, "b")
            server.restart()
            assert await tell(one, BOB, "c") == [Outcome.DROPPED]
            assert await resumes(one, 0) is None


async def test_emptied(tmp_path: Path) -> None:
    """Whoever is there starts over, and whoever is away cannot resume."""
    with redis_server(free_port(), tmp_path) as server:
        async with running(server.url, "one") as one:
            await away(one)
            await tell(one, BOB, "a")
            live = await Socket(one, EVE).come("t1")
            with Redis(port=server.port) as redis:
                redis.flushall()
            await until(lambda: live.is_lost)
            assert await tell(one, BOB, "b") == [Outcome.DROPPED]
            assert await resumes(one, 0) is None
