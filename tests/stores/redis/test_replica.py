"""The replica, and a store that was emptied."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from schemas.peers import Profile
from stores.base import Holder, Peer, StoreUnreachableError, User
from stores.bus import Home, Watcher
from stores.redis.stores import RedisStores
from tests.support.client import until
from tests.support.redis import RedisServer, redis_server
from tests.support.server import free_port
from tests.support.stores import running

FAR = 1_000_000
ANN, BOB = User("ann"), User("bob", "acme")


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


async def test_restoring_is_told(redis: RedisServer) -> None:
    """A node that read the store while it was empty, or half full, gets what others restore, without another change."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "old") as old:
        for user in (ANN, BOB):
            await old.peers.put(Peer(user, Profile("x", "guest", "vim"), "online", b"a", None))
        keys = [key async for key in old.client.redis.scan_iter(f"{old.client.space.name}:*")]
        await old.client.redis.delete(*keys)
        async with running(url, "new") as new:
            assert new.directory.sizes().peers == 0
            await old.replica.restore()
            await until(lambda: new.directory.sizes().peers == 2)
            await until(lambda: old.replica.is_right and old.replica.version(None) == new.replica.version(None))
            reads = new.replica.standing.reads
            await new.replica.restore()
            await old.peers.put(Peer(User("cat"), Profile("x", "guest", "vim"), "online", b"a", None))
            await until(lambda: new.directory.sizes().peers == 3)
            assert new.replica.standing.reads == reads


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


async def test_numbers_begin_anew(redis: RedisServer) -> None:
    """In a store that is filled by a node that has missed something, no change and no home has a number once more."""
    url = redis.namespace(uuid4().hex)
    async with running(url, "late") as late, running(url, "here") as here:
        await here.peers.claim(ANN, Holder("here", 1))
        home = here.bus.home(ANN)
        assert home is not None
        await until(lambda: late.bus.home(ANN) == home)
        known, org = late.replica._orgs[None], here.client.space.org(None)
        known.version, known.homes[ANN.id] = known.version - 1, Home("late", 1, home.fence - 1)
        await here.client.redis.delete(*[f"{org}{name}" for name in ("version", "fenced", "homes", "holders")])
        await late.replica.restore()
        await until(lambda: here.replica.version(None) > FAR)
        await here.peers.claim(User("cat"), Holder("here", 2))
        claimed = here.bus.home(User("cat"))
        assert claimed is not None
        assert claimed.fence > home.fence


async def test_the_later_home_is_restored(redis: RedisServer) -> None:
    """Whichever node is first to fill an emptied store: one that was cut off may know of an earlier home only."""
    for is_late_first in (True, False):
        url = redis.namespace(uuid4().hex)
        async with running(url, "late") as late, running(url, "here") as here:
            await here.peers.claim(ANN, Holder("here", 1))
            home = here.bus.home(ANN)
            assert home is not None
            await until(lambda: late.bus.home(ANN) == home)  # noqa: B023 - it is over before the next turn
            late.replica._orgs[None].homes[ANN.id] = Home("late", 5, home.fence - 1)
            keys = [key async for key in here.client.redis.scan_iter(f"{here.client.space.name}:*")]
            await here.client.redis.delete(*keys)
            for node in (late, here) if is_late_first else (here, late):
                await node.replica.restore()
            await until(lambda: here.replica.is_right and here.replica.version(None) > FAR)
            assert await here.peers.claim(ANN, Holder("here", 2)) == Holder("here", 1)
