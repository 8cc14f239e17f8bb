"""The stores of many nodes, put together."""

from collections.abc import Callable

import anyio

from stores.base import StoreUnreachableError
from stores.redis.client import Client
from stores.redis.records import RedisPeers, RedisRequests, RedisRevocations, RedisSessions
from stores.redis.replica import Replica

PATIENCE_SECONDS = 2.0
RETRY_SECONDS = 0.5


class RedisStores:
    """See `Stores`. `patience` is for how many seconds an answer is waited for."""

    def __init__(self, url: str, node: str, *, patience: float = PATIENCE_SECONDS) -> None:
        self.client = Client(url, node, patience)
        self.replica = Replica(self.client)
        self.directory = self.replica.directory
        self.sent = self.replica.sent
        self.peers = RedisPeers(self.client, self.replica, patience)
        self.requests = RedisRequests(self.client, self.replica, patience)
        self.sessions = RedisSessions(self.client, self.replica, patience)
        self.revocations = RedisRevocations(self.client, self.replica, patience)
        self._is_current = False

    async def run(self, started: Callable[[], None]) -> None:
        """See `Stores`."""
        while True:
            try:
                await self._follow(started)
            except StoreUnreachableError:
                self._is_current = False
                started()
                await anyio.sleep(RETRY_SECONDS)

    async def _follow(self, started: Callable[[], None]) -> None:
        """Keep the replica right until the connection is lost."""
        async with self.client.subscribed(self.client.space.changes) as changes:
            await self.replica.read_all()
            self._is_current = True
            started()
            async for change in changes:
                await self.replica.hear(change)

    async def ping(self) -> None:
        """See `Stores`; also raises while the replica may have missed something."""
        await self.client.ping()
        if not self._is_current:
            raise StoreUnreachableError("Redis: what this node knows is being read anew")

    async def close(self) -> None:
        """See `Stores`."""
        await self.client.close()
