"""Pending connections: limits how many there are and how long they wait, and selects which one to evict."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Connection = TypeVar("Connection", bound=Hashable)


class PendingConnections(Generic[Connection]):
    """Pending connections in order of arrival, by address.

    A connection may wait for `seconds`. Beyond `limit` connections one is evicted, but none before `grace` seconds.
    """

    def __init__(self, limit: int, seconds: float, grace: float = 0.0) -> None:
        self._limit = limit
        self._seconds = seconds
        self._grace = grace
        self._pending: dict[Connection, tuple[float, bytes]] = {}
        self._by_address: dict[bytes, dict[Connection, None]] = {}

    def __len__(self) -> int:
        """Return how many connections are pending."""
        return len(self._pending)

    def add(self, connection: Connection, address: bytes, now: float) -> None:
        """Add a connection; if it is already pending, its wait starts again."""
        self.remove(connection)
        self._pending[connection] = now, address
        self._by_address.setdefault(address, {})[connection] = None

    def remove(self, connection: Connection) -> None:
        """Remove a connection, if it is pending."""
        added = self._pending.pop(connection, None)
        if added is None:
            return
        same_address = self._by_address[added[1]]
        del same_address[connection]
        if not same_address:
            del self._by_address[added[1]]

    def to_evict(self, now: float) -> Connection | None:
        """Return the connection to evict; None if there is room.

        This is the oldest one of the address with the most connections, so one address cannot crowd out others.
        """
        if len(self._pending) <= self._limit:
            return None
        most: dict[Connection, None] = max(self._by_address.values(), key=len)
        oldest = next(iter(most))
        return oldest if now - self._pending[oldest][0] >= self._grace else None

    def expired(self, now: float) -> list[Connection]:
        """Return the connections that have waited too long."""
        found: list[Connection] = []
        for connection, (added_at, _) in self._pending.items():
            if now - added_at < self._seconds:
                break
            found.append(connection)
        return found
