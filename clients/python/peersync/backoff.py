"""Whether and when to come back after a connection has ended (docs/protocol.md section 5)."""

from collections.abc import Callable, Mapping
from random import SystemRandom

FINAL: Mapping[int, str] = {
    1000: "the server said goodbye",
    1002: "the server found a breach of the WebSocket protocol",
    1007: "the server found bad UTF-8",
    1009: "that was larger than the server takes",
    4002: "the same user connected from elsewhere",
}
"""The close codes after which a client must not come back by itself, and what they mean."""

RATE_LIMITED = 4029


class Backoff:
    """Pauses before coming back, in seconds: at random between half of *t* and *t*.

    *t* is `first`, then twice as much each time until `reset`, and `longest` at most; at once `longest` after a close
    for sending too much. `random` gives numbers from 0 to 1, which the system's do if it is None.
    """

    def __init__(self, first: float = 1.0, longest: float = 15.0, random: Callable[[], float] | None = None) -> None:
        self._first = first
        self._longest = longest
        self._random = random or SystemRandom().random
        self._doublings = 0

    def pause(self, code: int) -> float:
        """Return how long to wait after a connection that ended with this code."""
        longest = self._longest if code == RATE_LIMITED else min(self._longest, self._first * 2.0**self._doublings)
        if longest < self._longest:
            self._doublings += 1
        return longest * (1 + self._random()) / 2

    def reset(self) -> None:
        """Take note that all went well."""
        self._doublings = 0
