"""The timers: one for local duties and one for calls to the store, so that a slow store delays no heartbeat."""

import time
from collections.abc import Awaitable, Callable, Sequence

import anyio

from app.compose.background import Background
from app.histogram import Histogram
from app.logger import Logger
from handlers.retries import run_each
from stores.protocols import StoreUnreachableError

TICK_SECONDS = 0.1


class LocalTimer:
    """Calls each duty every `TICK_SECONDS`. A duty never waits. `lag` measures how late ticks are."""

    def __init__(self, duties: Sequence[Callable[[], object]], background: Background) -> None:
        self._duties = duties
        self._background = background
        self.lag = Histogram()

    def tick(self) -> None:
        """Call every duty, even if one fails."""
        for duty in self._duties:
            with self._background.logged():
                duty()

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            began = time.perf_counter()
            await anyio.sleep(TICK_SECONDS)
            self.lag.observe(max(0.0, time.perf_counter() - began - TICK_SECONDS))
            self.tick()


class StoreTimer:
    """Makes each call to the store every `TICK_SECONDS`, or less often if the store is slower."""

    def __init__(self, calls: Sequence[Callable[[], Awaitable[object]]], background: Background, log: Logger) -> None:
        self._calls = calls
        self._background = background
        self._log = log

    async def tick(self) -> None:
        """Make every call, even if one fails."""
        try:
            await run_each(self._calls)
        except StoreUnreachableError as error:
            self._log.warning("store unreachable", reason=str(error))

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await anyio.sleep(TICK_SECONDS)
            await self._background.run(self.tick())
