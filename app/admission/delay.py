"""Delays upgrades from addresses whose sockets keep closing before they authenticate."""

from collections.abc import Awaitable, Callable

import anyio

from app.admission.allowance import Allowance


class Delay:
    """Makes each upgrade wait as long as its address must. At most `most` upgrades wait at once."""

    def __init__(
        self, allowance: Allowance[bytes], most: int, sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    ) -> None:
        self._allowance = allowance
        self._most = most
        self._sleep = sleep
        self._waiting = 0

    def __len__(self) -> int:
        """Return how many upgrades are waiting."""
        return self._waiting

    async def wait(self, address: bytes) -> bool:
        """Wait if the address must, and return True; return False at once if too many are waiting already."""
        seconds = self._allowance.wait(address)
        if not seconds:
            return True
        if self._waiting >= self._most:
            return False
        self._waiting += 1
        try:
            await self._sleep(seconds)
        finally:
            self._waiting -= 1
        return True
