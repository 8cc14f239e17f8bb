"""A rate limit per key: a burst, and a rate per second in the long run."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import inf
from typing import Generic, TypeVar

MAX_KEYS = 10_000
ROUNDING_SECONDS = 1e-6

Key = TypeVar("Key", bound=Hashable)


class Allowance(Generic[Key]):
    """Limits each key by the generic cell rate algorithm: each use adds to a debt that time pays off.

    A key may use `at_once` at once and `per_second` every second after that. It never waits longer than `longest_wait`
    seconds. The table holds `max_keys`; beyond that, the least recently charged key is evicted.
    """

    def __init__(
        self,
        at_once: float,
        per_second: float,
        monotonic: Callable[[], float],
        *,
        longest_wait: float = inf,
        max_keys: int = MAX_KEYS,
    ) -> None:
        self._interval = 1 / per_second
        self._saved = at_once / per_second
        self._longest = self._saved + longest_wait
        self._monotonic = monotonic
        self._max_keys = max_keys
        self._paid_at: OrderedDict[Key, float] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of keys in the table."""
        return len(self._paid_at)

    def charge(self, key: Key) -> None:
        """Charge one use to a key."""
        now = self._monotonic()
        paid_at = max(now, self._paid_at.get(key, now)) + self._interval
        self._paid_at[key] = min(paid_at, now + self._longest)
        self._paid_at.move_to_end(key)
        if len(self._paid_at) > self._max_keys:
            self._paid_at.popitem(last=False)

    def wait(self, key: Key) -> float:
        """Return how many seconds the next use by this key must wait; 0 if it need not."""
        wait = self._paid_at.get(key, 0.0) - self._monotonic() - self._saved
        return wait if wait > ROUNDING_SECONDS else 0.0

    def evict_expired(self) -> None:
        """Remove keys without debt, starting with the least recently charged."""
        now = self._monotonic()
        while self._paid_at and next(iter(self._paid_at.values())) <= now:
            self._paid_at.popitem(last=False)
