"""Background work: what an application does by itself, each piece apart from the others."""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

from anyio.abc import TaskGroup
from structlog.typing import FilteringBoundLogger


class Background:
    """Runs work in the application's tasks. What it raises is logged, and ends nothing else."""

    def __init__(self, tasks: TaskGroup, log: FilteringBoundLogger) -> None:
        self._tasks = tasks
        self.log = log

    def spawn(self, work: Awaitable[None]) -> None:
        """Run this in a task of its own."""
        self._tasks.start_soon(self.run, work)

    async def run(self, work: Awaitable[None]) -> None:
        """Wait for this."""
        with self.logged():
            await work

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Log what is raised within."""
        try:
            yield
        except Exception:
            self.log.exception("background work failed")
