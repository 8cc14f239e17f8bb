"""Disconnects that the store has yet to hear of."""

from collections import deque
from functools import partial

from msgspec import Struct

from handlers.domain import disconnects
from handlers.ports import Identity, Services
from handlers.retries import run_each
from stores.model import Holder
from stores.protocols import StoreUnreachableError

AT_ONCE = 100


class PendingDisconnect(Struct, frozen=True):
    """A user's socket that has ended while the store could not be asked."""

    identity: Identity
    holder: Holder
    is_leaving: bool


class PendingDisconnects:
    """Disconnects in the order in which they happened."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._pending: deque[PendingDisconnect] = deque()

    def __len__(self) -> int:
        """Return how many are pending."""
        return len(self._pending)

    def add(self, disconnect: PendingDisconnect) -> None:
        """Add one; `retry` handles it."""
        self._pending.append(disconnect)

    async def retry(self) -> None:
        """Handle up to `AT_ONCE` of them, if the store answers; raises `StoreUnreachableError` if it does not.

        A user who has another socket by now stays. One that fails is pending again, and does not hold up the others.
        """
        if not self._pending:
            return
        await self._services.stores.ping()
        due = [self._pending.popleft() for _ in range(min(len(self._pending), AT_ONCE))]
        await run_each(partial(self._handle, disconnect) for disconnect in due)

    async def _handle(self, disconnect: PendingDisconnect) -> None:
        identity, holder = disconnect.identity, disconnect.holder
        try:
            await disconnects.catch_up(identity, holder, self._services, is_leaving=disconnect.is_leaving)
        except StoreUnreachableError:
            self._pending.append(disconnect)
            raise
