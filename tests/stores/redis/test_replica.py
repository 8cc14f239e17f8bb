"""The replica, and a store that was emptied."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import anyio

from schemas.peers import Profile
from stores.base import Peer, User
from stores.redis.stores import RedisStores
from tests.support.client import until
from tests.support.redis import RedisServer

ANN, BOB = User("ann"), User("bob", "acme")


@asynccontextmanager
async def running(url: str, node: str) -> AsyncIterator[RedisStores]:
    """Run the stores of a node, which is as far as the store is."""
    stores = RedisStores(url, node)
    async with anyio.create_task_group() as tasks:
        started = anyio.Event()
        tasks.start_soon(stores.run, started.set)
        await started.wait()
        yield stores
        tasks.cancel_scope.cancel()
    await stores.close()


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
