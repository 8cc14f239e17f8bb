"""The lease: each node shows that it lives, and finds users whose node does not."""

import time
from collections.abc import Callable

import anyio

from stores.base import StoreUnreachableError, User
from stores.bus import Home
from stores.redis import scripts
from stores.redis.bus import RedisBus
from stores.redis.client import Client
from stores.redis.replica import Replica

RENEWALS = 3
CLOSE = 0.001


class Lease:
    """Renewed `RENEWALS` times within its `seconds`.

    Only a node that kept its own lease all through such a time takes others for gone: after the store was away all of
    them have to come back first. That the store had lost it `is_lost`, and that it had an
    earlier one `is_behind`, until somebody takes note of that. It is `forgotten` when the store has lost it, or a later
    one.
    """

    def __init__(self, client: Client, replica: Replica, bus: RedisBus, seconds: float) -> None:
        self._client = client
        self._replica = replica
        self._bus = bus
        self._seconds = seconds
        self._steady_since: float | None = None
        self._renewed_at = 0.0
        self._monotonic: Callable[[], float] = time.monotonic
        self._gone: set[str] = set()
        self._left: set[tuple[User, Home]] = set()
        self.nodes: frozenset[str] = frozenset()
        self.forgotten = anyio.Event()
        self.is_lost = self.is_behind = False
        self._until = 0.0

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            try:
                with anyio.fail_after(self._seconds / RENEWALS):
                    await self.renew()
            except (StoreUnreachableError, TimeoutError):
                self._steady_since = None
                self._bus.standing.has_lease = self._monotonic() - self._renewed_at < self._seconds
            await anyio.sleep(self._seconds / RENEWALS)

    async def renew(self) -> None:
        """Renew the lease, set the clock by the store's, and ask other nodes for what was missed; report those gone."""
        client, asked_at = self._client, self._monotonic()
        now, known, nodes = await client.run(scripts.RENEW, client.space.nodes, client.node, self._seconds)
        renewed_at, self._renewed_at = self._renewed_at, self._monotonic()
        self._compare(float(now), asked_at, self._renewed_at)
        self.is_lost |= known is None
        is_behind = known is not None and float(known) < self._until
        self._until = float(now) + self._seconds - CLOSE
        if is_behind or (known is None and client.node in self.nodes):
            self.is_behind |= is_behind
            self.forgotten.set()
        self.nodes = frozenset(node.decode() for node in nodes)
        self._bus.standing.nodes, self._bus.standing.has_lease = len(nodes), True
        self._bus.ask_again(self.nodes)
        is_new_here = known is None  # to a store that was emptied, too, which the others may not have come back to yet
        is_steady = not (is_new_here or is_behind)
        if not is_steady or self._steady_since is None or self._renewed_at - renewed_at > self._seconds:
            self._steady_since = self._renewed_at
        elif self._renewed_at - self._steady_since >= self._seconds:
            self._report_gone()

    def _compare(self, now: float, asked_at: float, answered_at: float) -> None:
        """Go by the store's clock; how far it is off is known up to half the time that the answer took."""
        doubt = (answered_at - asked_at) / 2
        ahead = now - asked_at - doubt
        if abs(ahead - self._bus.ahead) > doubt:
            self._bus.ahead = ahead

    async def give_up(self) -> None:
        """Let the others take over at once."""
        await self._client.run(scripts.LEAVE, self._client.space.nodes, self._client.node)

    def _report_gone(self) -> None:
        """Report nodes that are gone, each once, and whose users they were, as long as no socket gives these a home.

        So it goes with who is there by a socket that this node has not, if that was so the last time, too.
        """
        gone = self._replica.nodes - self.nodes
        self._gone -= self.nodes
        for node in (gone | self._bus.partners) - self.nodes - self._gone:
            self._gone.add(node)
            self._bus.lose(node)
            self._bus.watcher.gone(node)
        for user, home in self._orphans(gone):
            self._bus.watcher.orphaned(user, home)
        self._bus.watcher.looked()

    def _orphans(self, gone: set[str]) -> list[tuple[User, Home]]:
        orphans, left = [], set()
        for user, home in self._replica.homes():
            is_own = home.node == self._client.node
            if is_own and home.socket and self._is_left(user, home):
                left.add((user, home))
            elif home.node in gone or (is_own and not home.socket):
                orphans.append((user, home))
        orphans += left & self._left
        self._left = left
        return orphans

    def _is_left(self, user: User, home: Home) -> bool:
        """Whether a user is there by a socket that is not; for a moment that is so whenever one closes."""
        peer = self._replica.directory.peer(user)
        is_there = peer is not None and peer.lapses_at is None
        return is_there and not self._bus.watcher.has_socket(home.socket)
