"""Users are taken over when the store has what their homes keep for them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import anyio
import pytest

from schemas.peers import Profile
from stores.base import Holder, Peer, StoreUnreachableError, User
from stores.redis.settling import UNSETTLED
from stores.redis.stores import RedisStores
from tests.support.client import until
from tests.support.redis import RedisServer
from tests.support.stores import running

ANN = User("ann")
LIFE = b"another life"
TAKER = Holder("taker", 2)


@pytest.fixture
async def nodes(redis: RedisServer) -> AsyncIterator[tuple[RedisStores, RedisStores]]:
    """Ann's home, and a node that she comes to; for that one the store has just begun another life."""
    url = redis.namespace(uuid4().hex)
    async with AsyncExitStack() as stack:
        home, taker = [await stack.enter_async_context(running(url, name)) for name in ("home", "taker")]
        await enter(home, frozenset({"resume"}))
        await until(lambda: taker.directory.peer(ANN) is not None)
        await home.bus.settled()
        taker.settling.begin(LIFE)
        taker.client.patience = 0.2
        yield home, taker


async def enter(node: RedisStores, spoken: frozenset[str]) -> None:
    """Have Ann connect to a node."""
    holder = Holder(node.client.node, 1)
    await node.peers.claim(ANN, holder)
    await node.peers.register(Peer(ANN, Profile("x", "guest", "vim"), "online", b"a", spoken=spoken), holder)


async def test_waiting(nodes: tuple[RedisStores, RedisStores]) -> None:
    """The claim is made once her home has written."""
    home, taker = nodes
    taker.client.patience = 10.0
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(taker.peers.claim, ANN, TAKER)
            await anyio.wait_all_tasks_blocked()
            assert taker.bus.home(ANN) == home.bus.home(ANN)
            home.bus.settle(LIFE)
    found = taker.bus.home(ANN)
    assert found is not None
    assert found.node == "taker"


async def test_in_vain(nodes: tuple[RedisStores, RedisStores]) -> None:
    """If it does not in time, the client is to try again."""
    with pytest.raises(StoreUnreachableError, match=UNSETTLED):
        await nodes[1].peers.claim(ANN, TAKER)


async def test_as_long_as_a_lease(nodes: tuple[RedisStores, RedisStores]) -> None:
    """After that her home is one that does not say so, as of an older version; so it is known from then on."""
    taker = nodes[1]
    taker.settling._monotonic = lambda: 1e9
    assert await taker.peers.claim(ANN, TAKER) == Holder("home", 1)


async def test_nothing_to_wait_for(nodes: tuple[RedisStores, RedisStores]) -> None:
    """Where she cannot resume."""
    home, taker = nodes
    await enter(home, frozenset())
    await until(lambda: taker.directory.peer(ANN) == home.directory.peer(ANN))
    assert await taker.peers.claim(ANN, TAKER) == Holder("home", 1)


async def test_who_has_settled_is_asked_once(nodes: tuple[RedisStores, RedisStores]) -> None:
    """In each life."""
    home, taker = nodes
    home.bus.settle(LIFE)
    await home.bus.settled()
    await taker.peers.claim(ANN, TAKER)
    await home.peers.claim(ANN, Holder("home", 3))
    await taker.client.redis.delete(taker.client.space.settled)
    assert await taker.peers.claim(ANN, TAKER) == Holder("home", 3)
    taker.settling.begin(b"a third life")
    await home.peers.claim(ANN, Holder("home", 4))
    with pytest.raises(StoreUnreachableError, match=UNSETTLED):
        await taker.peers.claim(ANN, TAKER)


async def test_nodes_that_are_long_gone_are_forgotten(nodes: tuple[RedisStores, RedisStores]) -> None:
    """With their leases."""
    client = nodes[1].client
    assert await client.redis.hkeys(client.space.settled) == [b"home", b"taker"]
    await client.redis.zadd(client.space.nodes, {"home": 1.0})
    await nodes[1].lease.renew()
    assert await client.redis.hkeys(client.space.settled) == [b"taker"]
