"""How much each of many may do: so much at once, and so much a second in the long run."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import inf
from typing import Generic, TypeVar

MAX_KEYS = 10_000
ROUNDING_SECONDS = 1e-6

Key = TypeVar("Key", bound=Hashable)


class Allowance(Generic[Key]):
    """Counts what each key does, as a debt that is paid off with time (the generic cell rate algorithm).

    The first `at_once` cost nothing, and `per_second` more are free every second. A key never has to wait longer than
    `longest_wait` seconds. The table has a bound: past `max_keys`, the key that has been quiet longest is forgotten.
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
        """Return how many keys are remembered."""
        return len(self._paid_at)

    def charge(self, key: Key) -> None:
        """Count one."""
        now = self._monotonic()
        paid_at = max(now, self._paid_at.get(key, now)) + self._interval
        self._paid_at[key] = min(paid_at, now + self._longest)
        self._paid_at.move_to_end(key)
        if len(self._paid_at) > self._max_keys:
            self._paid_at.popitem(last=False)

    def wait(self, key: Key) -> float:
        """Return for how many seconds the next one of this key has to wait; 0 if it need not."""
        wait = self._paid_at.get(key, 0.0) - self._monotonic() - self._saved
        return wait if wait > ROUNDING_SECONDS else 0.0

    def forget(self) -> None:
        """Forget keys that owe nothing, beginning with those that have been quiet longest."""
        now = self._monotonic()
        while self._paid_at and next(iter(self._paid_at.values())) <= now:
            self._paid_at.popitem(last=False)
