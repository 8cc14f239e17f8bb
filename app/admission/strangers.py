"""Sockets that end without having authenticated, by address: each makes the next one wait longer to be let in."""

from collections import OrderedDict
from collections.abc import Callable

from schemas.prices import LATEST_SECONDS, STRANGER_SOCKETS, STRANGER_SOCKETS_PER_SECOND

MAX_ADDRESSES = 10_000
_INTERVAL = 1 / STRANGER_SOCKETS_PER_SECOND
_SAVED = STRANGER_SOCKETS * _INTERVAL


class Strangers:
    """How many sockets of each address ended before they authenticated, as a debt that is paid off with time.

    The first hundred cost nothing, and ten more are free every second. Beyond that, the address's sockets are let in
    late, never refused: people who share an attacker's address wait for two seconds at most.
    """

    def __init__(self, monotonic: Callable[[], float], max_addresses: int = MAX_ADDRESSES) -> None:
        self._monotonic = monotonic
        self._max_addresses = max_addresses
        self._paid_at: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        """Return how many addresses are remembered."""
        return len(self._paid_at)

    def ended(self, address: bytes) -> None:
        """Count a socket that ended without having authenticated."""
        now = self._monotonic()
        paid_at = max(now, self._paid_at.get(address, now)) + _INTERVAL
        self._paid_at[address] = min(paid_at, now + _SAVED + LATEST_SECONDS)
        self._paid_at.move_to_end(address)
        if len(self._paid_at) > self._max_addresses:
            self._paid_at.popitem(last=False)

    def wait(self, address: bytes) -> float:
        """Return for how many seconds the next socket of this address waits to be let in."""
        return max(0.0, self._paid_at.get(address, 0.0) - self._monotonic() - _SAVED)

    def forget(self) -> None:
        """Forget addresses that owe nothing, beginning with those that have been quiet for the longest time."""
        now = self._monotonic()
        while self._paid_at and next(iter(self._paid_at.values())) <= now:
            self._paid_at.popitem(last=False)
