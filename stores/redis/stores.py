"""The stores of many nodes, put together."""

import logging
import secrets
from collections import deque
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from stores.base import StoreUnreachableError
from stores.redis.bus import RedisBus
from stores.redis.changer import Changer
from stores.redis.client import Client
from stores.redis.lease import RENEWALS, Lease
from stores.redis.records import RedisPeers, RedisRequests, RedisRevocations, RedisSessions
from stores.redis.refill import Loss, refill
from stores.redis.replica import OLDER, Replica
from stores.redis.settling import Settling

PATIENCE_SECONDS = 2.0
RETRY_SECONDS = 0.5
LEASE_SECONDS = 9.0
NEWCOMER_SECONDS = 1.0
READING = "Redis: what this node knows is being read anew"
EMPTIED = "Redis: it was emptied, and is being filled again"
_logger = logging.getLogger(__name__)


class RedisStores:
    """See `Stores`.

    A node that came while the store was away lets those go first, for `NEWCOMER_SECONDS`, who knew what was there.

    An answer is waited for `patience` seconds, and a node that does not show itself for `lease` seconds is gone.
    """

    def __init__(
        self, url: str, node: str, *, lease: float = LEASE_SECONDS, patience: float = PATIENCE_SECONDS
    ) -> None:
        self.client = Client(url, node, patience)
        self.replica = Replica(self.client)
        self.directory = self.replica.directory
        self.sent = self.replica.sent
        changer = Changer(self.client, self.replica, patience)
        self.requests = RedisRequests(self.client, self.replica, changer, patience)
        self.sessions = RedisSessions(self.client, self.replica, changer, patience)
        self.revocations = RedisRevocations(self.client, self.replica, changer, patience)
        self.bus = RedisBus(self.client, self.replica, changer)
        self.lease = Lease(self.client, self.replica, self.bus, lease)
        self.settling = Settling(self.client, self.replica, lease)
        self.peers = RedisPeers(self.client, self.replica, changer, patience, self.settling)
        self._look_back_seconds = lease / RENEWALS
        self._life = b""
        self._why_not_current = READING
        self._is_late = False
        self._loss: Loss = "unknown"
        self._early: deque[bytes] = deque()

    async def run(self, started: Callable[[], None]) -> None:
        """See `Stores`."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.bus.run)
            tasks.start_soon(self.lease.run)
            while True:
                try:
                    await self._follow(started)
                except* StoreUnreachableError as errors:
                    self._why_not_current = str(errors.exceptions[0])
                    self._is_late = True
                    self.replica.lose_track()
                    started()
                    await anyio.sleep(RETRY_SECONDS)

    async def _follow(self, started: Callable[[], None]) -> None:
        """Keep the replica right until the connection is lost. What comes from other nodes waits while it is not."""
        space = self.client.space
        channels = space.changes, space.node(self.client.node)
        async with self.client.subscribed(*channels) as messages, anyio.create_task_group() as tasks:
            tasks.start_soon(self._catch_up, tasks, started)
            async for channel, message in messages:
                if channel == space.changes:
                    _take_in(self.replica.hear, message)
                else:
                    self._early.append(message)
                self._pass_on()

    async def _catch_up(self, tasks: TaskGroup, started: Callable[[], None]) -> None:
        def done() -> None:
            self._pass_on()
            self.bus.watcher.caught_up()
            started()

        self._why_not_current = READING
        await self.lease.renew()
        salt = await self._compare_lives()
        self.bus.salt = salt
        tasks.start_soon(self._notice_emptying)
        tasks.start_soon(self.replica.look_back, self._look_back_seconds)
        await self.replica.keep_right(self._check_life, done)

    def _pass_on(self) -> None:
        while self._early and self.replica.is_right:
            _take_in(self.bus.hear, self._early.popleft())

    async def _compare_lives(self) -> bytes:
        """Fill the store again if it was emptied since this node saw it first; return the salt of all nodes.

        So it is filled if it is as it was some time ago; the other nodes are told by another life.
        """
        if self._is_late and not self._life:
            await anyio.sleep(NEWCOMER_SECONDS)
        salt = await self.client.shared("salt", self.bus.salt or secrets.token_bytes(32))
        life = await self._read_life()
        if self._loss == "unknown":
            self._loss = await self._find_loss()
        if self._loss == "older" and life == self._life:
            life = await self.client.exchange("life", life, secrets.token_bytes(16))
        if self._life not in (b"", life):
            await refill(self.client, self.replica, life, self._loss)
            self.bus.watcher.emptied()
        self._life, self._loss = life, "unknown"
        self.lease.is_lost = self.lease.is_behind = False
        self.settling.begin(life)
        self.bus.settle(life)
        return salt

    async def _find_loss(self) -> Loss:
        """Tell by the lease, as it was before it was renewed, and by what is known here."""
        if self.lease.is_lost:
            return "emptied"
        return "older" if self.lease.is_behind or await self.replica.is_ahead() else "unknown"

    async def _notice_emptying(self) -> None:
        """Raise `StoreUnreachableError` if the store is emptied while the connection lasts: then all begins anew."""
        while not self.lease.is_behind:
            await self._check_life()
            await self.lease.forgotten.wait()
            self.lease.forgotten = anyio.Event()
        raise StoreUnreachableError(OLDER)

    async def _check_life(self) -> None:
        """Raise `StoreUnreachableError` if the store is not the one that this node knows."""
        if await self._read_life() != self._life:
            raise StoreUnreachableError(EMPTIED)

    async def _read_life(self) -> bytes:
        return await self.client.shared("life", secrets.token_bytes(16))

    async def ping(self) -> None:
        """See `Stores`; also raises while the replica may have missed something, or nothing gets through."""
        await self.client.ping()
        if not self.replica.standing.is_current:
            raise StoreUnreachableError(self._why_not_current)
        if self.bus.why_stuck:
            raise StoreUnreachableError(self.bus.why_stuck)

    async def close(self) -> None:
        """See `Stores`. What waits to be sent or written goes out before, and the others may take over at once."""
        with anyio.move_on_after(self.client.patience, shield=True):
            try:
                while not self.bus.is_idle:
                    await self.bus.flush()
                await self.lease.give_up()
            except StoreUnreachableError:
                pass
        await self.client.close()


def _take_in(hear: Callable[[bytes], None], message: bytes) -> None:
    """Take in what a node told; one that cannot be understood, as of another version, is logged and left out.

    A change that was in it is missed, and so its org is read anew with the next, or by looking back.
    """
    try:
        hear(message)
    except Exception:
        _logger.exception("left out what another node told")
