"""What is kept for a user in Redis, and who may write it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import anyio
import pytest
from msgspec.structs import replace

from schemas.peers import Profile
from stores.base import Holder, Peer, User
from stores.redis.stores import RedisStores
from tests.support.redis import RedisServer
from tests.support.stores import running

ANN = User("ann")


@pytest.fixture
async def nodes(redis: RedisServer) -> AsyncIterator[list[RedisStores]]:
    """Two nodes."""
    url = redis.namespace(uuid4().hex)
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running(url, name)) for name in ("a", "b")]


async def test_numbers_go_on(nodes: list[RedisStores]) -> None:
    """A mailbox that is written anew while there is nothing in it does not forget how far its numbers were."""
    first, _ = nodes
    await first.peers.claim(ANN, Holder("a", 1))
    first.bus.open(ANN, {"res_1": 2}, {3: 5}, is_new=True, last=7)
    await first.bus.settled()
    assert (await first.bus.load(ANN)).last == 7
    first.bus.keep(ANN, b"eight", 8, 8, seen={})
    await first.bus.settled()
    kept = await first.bus.load(ANN)
    assert (kept.last, kept.frames, kept.tokens) == (8, [b"eight"], {"res_1": 2})
    home = first.bus.home(ANN)
    assert home is not None
    assert (kept.fence, kept.bases) == (home.fence, {3: 5})


async def test_closing(redis: RedisServer) -> None:
    """What follows from the last writes goes out too, and so does what was begun when the node stopped."""
    url, told = redis.namespace(uuid4().hex), list[bool]()
    async with running(url, "a") as first:
        await first.peers.claim(ANN, Holder("a", 1))
        with redis.frozen():
            first.bus.keep(ANN, b"one", 1, 1, seen={}, kept=told.append)
            await anyio.wait_all_tasks_blocked()
            first.bus.keep(
                ANN,
                b"two",
                1,
                2,
                seen={},
                kept=lambda _: first.bus.keep(ANN, b"three", 1, 3, seen={}, kept=told.append),
            )
            await anyio.wait_all_tasks_blocked()
            assert not told
    assert told == [True, True]
    async with running(url, "b") as second:
        assert (await second.bus.load(ANN)).frames == [b"one", b"two", b"three"]


async def test_another_home(nodes: list[RedisStores]) -> None:
    """Who is not the user's home any more is told that it was not written; so it is not in a store that was emptied."""
    first, second = nodes
    told: list[bool] = []
    await first.peers.claim(ANN, Holder("a", 1))
    home = first.bus.home(ANN)
    assert home is not None
    await second.peers.claim(ANN, Holder("b", 1))
    first.replica._put_home(ANN, home)  # as long as it has not heard
    first.bus.keep(ANN, b"one", 1, 1, seen={}, kept=told.append)
    await first.bus.settled()
    assert told == [False]
    await first.client.redis.delete(f"{first.client.space.org(None)}homes")
    first.bus.keep(ANN, b"two", 2, 2, seen={}, kept=told.append)
    await first.bus.settled()
    assert told == [False, False]
    assert (first.bus.standing.written, first.bus.standing.fenced) == (0, 1)


async def test_not_at_home(nodes: list[RedisStores]) -> None:
    """A node writes nothing for a user whose home it is not, though it knows by which fence it could."""
    first, second = nodes
    told: list[bool] = []
    await first.peers.claim(ANN, Holder("a", 1))
    await second.replica.reached(None, 1, 2.0)
    second.bus.keep(ANN, b"one", 1, 1, seen={}, kept=told.append)
    await second.bus.settled()
    assert told == [False]


async def test_finding(nodes: list[RedisStores]) -> None:
    """A peer that has just registered over another node is found before this one has heard of it."""
    first, second = nodes
    for number in range(50):
        user = User(f"user-{number}")
        await first.peers.put(Peer(user, Profile("x", "guest", "vim"), "online", b"a"))
        assert await second.peers.find(user) is not None


async def test_claiming_back(nodes: list[RedisStores]) -> None:
    """A node that was taken for gone has its user back, unless the user has connected to another one since."""
    first, second = nodes
    await first.peers.claim(ANN, Holder("a", 1))
    home = first.bus.home(ANN)
    assert home is not None
    assert await second.bus.adopt(ANN, home)
    adopted = second.bus.home(ANN)
    assert adopted is not None
    assert await first.bus.reclaim(ANN, adopted, 1)
    assert not await first.bus.reclaim(ANN, adopted, 2)
    assert not await second.bus.adopt(ANN, home)
    assert not await second.bus.adopt(ANN, adopted)
    again = first.bus.home(ANN)
    assert again is not None
    assert (again.node, again.socket) == ("a", 1)


async def test_adopting_twice(nodes: list[RedisStores]) -> None:
    """Who adopts or claims back again, since the answer was lost, is the home, and moves no fence."""
    first, second = nodes
    await first.peers.claim(ANN, Holder("a", 1))
    home = first.bus.home(ANN)
    assert home is not None
    await second.bus.adopt(ANN, home)
    adopted = second.bus.home(ANN)
    assert adopted is not None
    assert await second.bus.adopt(ANN, home)
    assert await second.bus.adopt(ANN, adopted)
    assert not await second.bus.adopt(ANN, replace(adopted, fence=adopted.fence + 1))
    assert second.bus.home(ANN) == adopted
    await first.bus.reclaim(ANN, adopted, 1)
    reclaimed = first.bus.home(ANN)
    assert await first.bus.reclaim(ANN, adopted, 1)
    assert first.bus.home(ANN) == reclaimed
    await second.peers.claim(ANN, Holder("b", 1))
    assert not await first.bus.reclaim(ANN, adopted, 1)
    assert not await second.bus.adopt(ANN, adopted)
