"""A cache for a value that many callers need at once."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


class CachedValue(Generic[T]):
    """Returns the same value for `seconds`. Callers that arrive while it is being made wait for it.

    If making it fails, only the caller that started it gets the exception; the next caller tries again.
    """

    def __init__(self, make: Callable[[], Awaitable[T]], seconds: float, monotonic: Callable[[], float]) -> None:
        self._make = make
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = anyio.Lock()
        self._made: tuple[T, float] | None = None

    async def get(self) -> T:
        """Return the value; make a new one first if it is too old."""
        if (made := self._fresh()) is not None:
            return made[0]
        async with self._lock:
            if (made := self._fresh()) is None:
                made = await self._make(), self._monotonic()
                self._made = made
            return made[0]

    def _fresh(self) -> tuple[T, float] | None:
        made = self._made
        return None if made is None or self._monotonic() - made[1] >= self._seconds else made
