"""The lease: each node shows that it lives, and finds the peers of nodes that do not."""

import time
from collections.abc import Callable

from stores.redis.client import Client
from stores.redis.follower import Follower

RENEWALS = 3
CLOSE = 0.001


class Lease:
    """Renewed `RENEWALS` times within its `seconds`.

    Only a node that kept its own lease through such a time takes others for gone: after the store was away, or has lost
    something, all of them have to come back first. `ahead` is by how much the clock of the store is ahead of this
    machine's monotonic clock.
    """

    def __init__(self, client: Client, follower: Follower, seconds: float) -> None:
        self.seconds = seconds
        self.nodes: frozenset[str] = frozenset()
        self.ahead = time.time() - time.monotonic()
        self._client = client
        self._follower = follower
        self._monotonic: Callable[[], float] = time.monotonic
        self._steady_since: float | None = None
        self._renewed_at = 0.0
        self._until = 0.0

    @property
    def is_held(self) -> bool:
        """Whether this node has shown itself in time."""
        return self._monotonic() - self._renewed_at < self.seconds

    def unsettle(self) -> None:
        """Take no other node for gone for a whole lease from now on."""
        self._steady_since = None

    async def renew(self) -> None:
        """Renew the lease, set the clock by the store's, and report the peers of nodes that are gone."""
        asked_at = self._monotonic()
        now, known, nodes = await self._client.run("renew", [self._client.keys.nodes], self._client.node, self.seconds)
        last, self._renewed_at = self._renewed_at, self._monotonic()
        self._compare(float(now), asked_at)
        is_kept = known is not None and float(known) >= self._until
        self._until = float(now) + self.seconds - CLOSE
        self.nodes = frozenset(node.decode() for node in nodes)
        if not is_kept or self._steady_since is None or self._renewed_at - last > self.seconds:
            self._steady_since = self._renewed_at
        elif self._renewed_at - self._steady_since >= self.seconds:
            self._report_orphans()

    async def give_up(self) -> None:
        """Let the others take over at once."""
        await self._client.ask(("ZREM", self._client.keys.nodes, self._client.node))

    def _compare(self, now: float, asked_at: float) -> None:
        """Go by the store's clock; how far it is off is known up to half the time that the answer took."""
        doubt = (self._renewed_at - asked_at) / 2
        ahead = now - asked_at - doubt
        if abs(ahead - self.ahead) > doubt:
            self.ahead = ahead

    def _report_orphans(self) -> None:
        gone = self._follower.present.keys() - self.nodes
        if not gone or not self._follower.is_current:
            return
        for peer in list(self._follower.directory.everybody()):
            if peer.lapses_at is None and peer.holder is not None and peer.holder.node in gone:
                self._follower.listener.orphaned(peer)
