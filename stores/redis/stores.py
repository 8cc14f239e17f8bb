"""The stores of many nodes, put together."""

import secrets
import time
from collections.abc import Callable

import anyio

from stores.log import Bounds
from stores.protocols import Listener, StoreUnreachableError
from stores.redis.client import Client
from stores.redis.follower import Follower
from stores.redis.lease import RENEWALS, Lease
from stores.redis.log import RedisLog
from stores.redis.records import RedisPeers, RedisRequests, RedisRevocations, RedisSessions
from stores.redis.writer import Writer

PATIENCE_SECONDS = 2.0
LEASE_SECONDS = 9.0
LIFETIME_SECONDS = 3600.0
SALT_BYTES = 32
DATASET_BYTES = 16


class RedisStores:
    """See `Stores`.

    An answer is waited for `patience` seconds, and a node that does not show itself for `lease` seconds is gone. What
    is kept for a user is let go of after `lifetime` seconds for which no node looked after it.
    """

    def __init__(
        self,
        url: str,
        node: str,
        bounds: Bounds | None = None,
        *,
        lease: float = LEASE_SECONDS,
        patience: float = PATIENCE_SECONDS,
        lifetime: float = LIFETIME_SECONDS,
    ) -> None:
        self.node = node
        self.salt = b""
        self.client = Client(url, node, patience)
        self.follower = Follower(self.client)
        self.directory = self.follower.directory
        self.log = RedisLog(self.client, self.follower, bounds or Bounds(), lifetime, self._now)
        writer = Writer(self.client, self.follower)
        self.peers = RedisPeers(self.follower, writer, self.log)
        self.requests = RedisRequests(self.follower, writer)
        self.sessions = RedisSessions(writer)
        self.revocations = RedisRevocations(self.client)
        self.lease = Lease(self.client, self.follower, lease)
        self._dataset = b""

    @property
    def listener(self) -> Listener:
        return self.follower.listener

    @listener.setter
    def listener(self, listener: Listener) -> None:
        self.follower.listener = self.log.listener = listener

    @property
    def ahead(self) -> float:
        return self.lease.ahead

    def _now(self) -> float:
        """Return the time by the clock of Redis, in seconds since 1970."""
        return time.monotonic() + self.lease.ahead

    async def run(self, started: Callable[[], None]) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.log.run)
            tasks.start_soon(self._keep_lease)
            tasks.start_soon(self.follower.run, self._check, started)

    async def ping(self) -> None:
        """See `Stores`; also raises while the directory may lack something, or nothing gets through."""
        await self.client.ping()
        for why in (not self.follower.is_current and self.follower.why_not_current, self.log.why_stuck):
            if why:
                raise StoreUnreachableError(why)

    async def close(self) -> None:
        """See `Stores`. What waits goes out before, and the others may take over at once."""
        with anyio.move_on_after(self.client.patience, shield=True):
            try:
                await self.log.close()
                await self.lease.give_up()
            except StoreUnreachableError:
                pass
        await self.client.close()

    def stats(self) -> dict[str, float]:
        return {
            "nodes": len(self.lease.nodes),
            "lease_held": self.lease.is_held,
            "directory_current": self.follower.is_current,
            "directory_resyncs_total": self.follower.resyncs,
            "clock_ahead_seconds": self.lease.ahead - (time.time() - time.monotonic()),
            "appends_waiting": len(self.log.pipeline),
        }

    async def _keep_lease(self) -> None:
        pause = self.lease.seconds / RENEWALS
        while True:
            try:
                with anyio.fail_after(pause):
                    await self._check()
                    await self.follower.check_positions()
            except (StoreUnreachableError, TimeoutError):
                self.lease.unsettle()
            await anyio.sleep(pause)

    async def _check(self) -> None:
        """Renew the lease, and find out whether the store still has the data that this node knows."""
        keys = self.client.keys
        dataset = await self.client.shared(keys.dataset, secrets.token_bytes(DATASET_BYTES))
        if self._dataset not in (b"", dataset):
            self.lease.unsettle()
            self.follower.resync()
            self.log.dataset_lost()
        self._dataset = dataset
        self.salt = await self.client.shared(keys.salt, self.salt or secrets.token_bytes(SALT_BYTES))
        await self.lease.renew()
