"""Sockets that are let in late: those of an address whose sockets end before they authenticate."""

from collections.abc import Awaitable, Callable

import anyio

from app.admission.allowance import Allowance


class Delay:
    """Has sockets wait as long as their address has to. At most `most` of them wait at once."""

    def __init__(
        self, allowance: Allowance[bytes], most: int, sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    ) -> None:
        self._allowance = allowance
        self._most = most
        self._sleep = sleep
        self._waiting = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return self._waiting

    async def wait(self, address: bytes) -> bool:
        """Wait, which for most addresses is no time at all; return False at once if too many wait already."""
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
