"""The replica, and a store that was emptied."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from schemas.peers import Profile
from stores.base import Holder, Peer, StoreUnreachableError, User
from stores.bus import Watcher
from stores.redis.stores import RedisStores
from tests.support.client import until
from tests.support.redis import RedisServer, redis_server
from tests.support.server import free_port
from tests.support.stores import running

ANN, BOB, CAT = User("ann"), User("bob", "acme"), User("cat")


class Listener(Watcher):
    """Who hears that the store was emptied."""

    def __init__(self) -> None:
        self.times = 0

    def emptied(self) -> None:
        self.times += 1


@pytest.fixture
def own(tmp_path: Path, redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis that no other test uses."""
    assert redis.port
    with redis_server(free_port(), tmp_path) as server:
        yield server


def times(node: RedisStores) -> int:
    """Return how often a node has heard that the store was emptied."""
    listener = node.bus.watcher
    assert isinstance(listener, Listener)
    return listener.times


async def test_emptied_over_a_connection_that_lasts(own: RedisServer) -> None:
    """Each node that finds its lease forgotten fills the store again, once, and nothing is changed before."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(running(own.url, name)) for name in ("one", "two")]
        one, two = nodes
        for node in nodes:
            node.bus.watcher = Listener()
        for user in (ANN, BOB):
            await one.peers.claim(user, Holder("one", 1))
            await one.peers.put(Peer(user, Profile("x", "guest", "vim"), "online", b"a", None))
        await until(lambda: two.directory.sizes().peers == 2)
        await one.client.redis.flushall()
        cat = Peer(User("cat"), Profile("x", "guest", "vim"), "online", b"a", None)
        with pytest.raises(StoreUnreachableError, match="lost what it had told"):
            await two.peers.put(cat)
        for node in nodes:
            await node.lease.renew()
            await until(lambda node=node: times(node) == 1 and node.replica.is_right)  # type: ignore[misc]
        await two.peers.put(cat)
        async with running(own.url, "new") as new:
            for node in (*nodes, new):
                await until(lambda node=node: node.directory.sizes().peers == 3)  # type: ignore[misc]
                assert (node.bus.home(ANN), node.bus.home(BOB)) == (one.bus.home(ANN), one.bus.home(BOB))
        for node in nodes:
            await node.lease.renew()
        assert [times(node) for node in nodes] == [1, 1]
        assert one.bus.home(ANN) is not None


@pytest.mark.parametrize("is_connected", [True, False])
async def test_older(own: RedisServer, is_connected: bool) -> None:
    """A store that is as it was some time ago is filled anew, once, and what has gone since then is gone."""
    cat = User("cat")
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(running(own.url, name)) for name in ("one", "two")]
        one, two = nodes
        for node in nodes:
            node.bus.watcher = Listener()
        for user in (ANN, BOB):
            await one.peers.put(Peer(user, Profile("x", "guest", "vim"), "online", b"a", None))
        redis = one.client.redis
        older = {key: await redis.dump(key) or b"" async for key in redis.scan_iter()}
        await one.peers.remove(ANN)
        await two.peers.claim(cat, Holder("two", 1))
        await two.peers.put(Peer(cat, Profile("x", "guest", "vim"), "online", b"a", None))
        await until(lambda: one.directory.peer(cat) is not None)
        await redis.flushall()
        for key, value in older.items():
            await redis.restore(key, 0, value)
        if is_connected:
            for node in nodes:
                await node.lease.renew()
        else:
            await redis.client_kill_filter(_type="pubsub")
        await until(lambda: all(times(node) and node.replica.is_right for node in nodes))
        async with running(own.url, "new") as new:
            for node in (*nodes, new):
                peers = {peer.user for org in (None, "acme") for peer in node.directory.peers(org)}
                assert peers == {BOB, cat}
                assert node.bus.home(cat) == two.bus.home(cat)
        assert await two.peers.claim(cat, Holder("two", 2)) == Holder("two", 1)
        assert [times(node) for node in nodes] == [1, 1]


async def test_only_what_is_kept_is_older(own: RedisServer) -> None:
    """A node whose lease is as it was some time ago writes what it keeps anew, though no record has changed since."""
    async with running(own.url, "one") as one:
        one.bus.watcher = Listener()
        await one.peers.put(Peer(ANN, Profile("x", "guest", "vim"), "online", b"a", None))
        older = await one.client.redis.dump(one.client.space.nodes) or b""
        await one.lease.renew()
        assert times(one) == 0
        await one.client.redis.restore(one.client.space.nodes, 0, older, replace=True)
        await one.lease.renew()
        assert one.lease._steady_since == one.lease._renewed_at  # so that it takes no other node for gone
        await until(lambda: times(one) == 1 and one.replica.is_right)
        await one.lease.renew()
        assert one.directory.peer(ANN) is not None
        assert not one.lease.forgotten.is_set()


async def test_changes_are_lost_while_the_connection_lasts(own: RedisServer) -> None:
    """A node that looks back finds that, too."""
    async with running(own.url, "one") as one:
        await one.peers.put(Peer(ANN, Profile("x", "guest", "vim"), "online", b"a", None))
        await one.client.redis.decr(f"{one.client.space.org(None)}version")
        with pytest.raises(StoreUnreachableError, match="lost what it had told"):
            await one.replica.look_back(0)


async def test_a_lease_that_others_have_cleared_away(own: RedisServer) -> None:
    """A node that was silent for long is forgotten, too, but by a store that has all it had."""
    async with running(own.url, "one") as one:
        one.bus.watcher = Listener()
        await one.lease.give_up()
        await one.lease.renew()
        await until(lambda: not one.lease.forgotten.is_set())
        assert one.replica.is_right
        await one.peers.put(Peer(ANN, Profile("x", "guest", "vim"), "online", b"a", None))
        assert times(one) == 0


async def test_what_is_older_is_not_read(own: RedisServer) -> None:
    """A node does not go back to what the store was some time ago: it is to fill it first."""
    async with running(own.url, "one") as one:
        await one.peers.put(Peer(ANN, Profile("x", "guest", "vim"), "online", b"a", None))
        known = one.replica.version(None)
        await one.client.redis.delete(f"{one.client.space.org(None)}peers")
        await one.client.redis.decr(f"{one.client.space.org(None)}version")
        with pytest.raises(StoreUnreachableError, match="lost what it had told"):
            await one.replica.read(None, one._check_life)
        assert one.directory.peer(ANN) is not None
        assert one.replica.version(None) == known


async def test_a_peer_without_a_place(own: RedisServer) -> None:
    """Whatever took its place away: it is not known, and all else is."""
    async with running(own.url, "one") as one:
        for user in (ANN, CAT):
            await one.peers.put(Peer(user, Profile("x", "guest", "vim"), "online", b"a", None))
        await one.client.redis.hdel(f"{one.client.space.org(None)}places", "cat")
        async with running(own.url, "two") as two:
            assert [peer.user for peer in two.directory.peers(None)] == [ANN]


async def test_another_life_while_it_reads(own: RedisServer) -> None:
    """What a node reads while the store is being filled again is not taken for all there is."""
    async with running(own.url, "one") as one:
        await one.peers.put(Peer(ANN, Profile("x", "guest", "vim"), "online", b"a", None))
        await one.client.redis.delete(f"{one.client.space.org(None)}peers")
        await one.client.redis.set(f"{one.client.space.name}:life", "another")
        with pytest.raises(StoreUnreachableError, match="emptied"):
            await one.replica.read(None, one._check_life)
        assert one.directory.peer(ANN) is not None
