"""The replica, and a store that was emptied."""

from uuid import uuid4

from schemas.peers import Profile
from stores.base import Holder, Peer, User
from stores.bus import Home
from tests.support.client import until
from tests.support.redis import RedisServer
from tests.support.stores import running

ANN, BOB = User("ann"), User("bob", "acme")


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
        await here.peers.claim(User("cat"), Holder("here", 2))
        claimed = here.bus.home(User("cat"))
        assert claimed is not None
        assert claimed.fence > home.fence


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
            reads = new.replica.standing.reads
            await new.replica.restore()
            await old.peers.put(Peer(User("cat"), Profile("x", "guest", "vim"), "online", b"a", None))
            await until(lambda: new.directory.sizes().peers == 3)
            assert new.replica.standing.reads == reads
