"""Sockets that end without having authenticated, by address: each makes the next one wait longer to be let in."""

from collections import OrderedDict
from collections.abc import Callable

FREE = 100
PER_SECOND = 10.0
LONGEST_WAIT_SECONDS = 2.0
MAX_ADDRESSES = 10_000


class Strangers:
    """How many sockets of each address ended before they authenticated, as a debt that is paid off with time.

    `FREE` of them cost nothing, and one more is free every `1 / PER_SECOND` seconds. Beyond that, the address's sockets
    are let in late, never refused: people who share an attacker's address wait for two seconds at most.
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
        longest = now + FREE / PER_SECOND + LONGEST_WAIT_SECONDS
        self._paid_at[address] = min(max(now, self._paid_at.get(address, now)) + 1 / PER_SECOND, longest)
        self._paid_at.move_to_end(address)
        if len(self._paid_at) > self._max_addresses:
            self._paid_at.popitem(last=False)

    def wait(self, address: bytes) -> float:
        """Return for how many seconds the next socket of this address waits to be let in."""
        return max(0.0, self._paid_at.get(address, 0.0) - self._monotonic() - FREE / PER_SECOND)

    def forget(self) -> None:
        """Forget addresses that owe nothing, beginning with those that have been quiet for the longest time."""
        now = self._monotonic()
        while self._paid_at and next(iter(self._paid_at.values())) <= now:
            self._paid_at.popitem(last=False)
