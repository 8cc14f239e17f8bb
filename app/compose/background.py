"""Background work: runs tasks whose failures do not affect one another."""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

from anyio.abc import TaskGroup
from structlog.typing import FilteringBoundLogger


class Background:
    """Runs work in the application's task group. Logs exceptions, so that they end nothing else."""

    def __init__(self, tasks: TaskGroup, log: FilteringBoundLogger) -> None:
        self._tasks = tasks
        self.log = log

    def spawn(self, work: Awaitable[None]) -> None:
        """Run the work in a new task."""
        self._tasks.start_soon(self.run, work)

    async def run(self, work: Awaitable[None]) -> None:
        """Run the work and wait for it; log an exception instead of raising it."""
        with self.logged():
            await work

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Log an exception from this block instead of raising it."""
        try:
            yield
        except Exception:
            self.log.exception("background work failed")
