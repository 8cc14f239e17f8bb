"""Work for several users: a failure for one must not keep the others from theirs."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from stores.protocols import StoreUnreachableError

Call = Callable[[], Awaitable[object]]


async def run_each(calls: Iterable[Call]) -> None:
    """Make every call, also after one has failed; then raise what went wrong.

    Raises the one error as it is, and several in an `ExceptionGroup`, unless the store was unreachable each time.
    """
    errors: list[Exception] = []
    for call in calls:
        try:
            await call()
        except Exception as error:  # noqa: BLE001 - raised once all calls are made
            errors.append(error)
    mistakes = [error for error in errors if not isinstance(error, StoreUnreachableError)]
    if len(mistakes) > 1:
        raise ExceptionGroup("several calls failed", mistakes)
    if errors:
        raise (mistakes or errors)[0]


class Retries:
    """Calls that a store did not answer. Each is made again until it is answered, one after the other."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()

    def __len__(self) -> int:
        """Return how many calls wait."""
        return len(self._calls)

    async def attempt(self, call: Call, again: Call | None = None) -> None:
        """Make a call; if the store is unreachable, keep it, or `again` in its place, for `retry`."""
        try:
            await call()
        except StoreUnreachableError:
            self._calls.append(again or call)

    async def retry(self) -> None:
        """Make each kept call once more; raises as `run_each` does."""
        kept, self._calls = self._calls, deque()
        await run_each([partial(self._make, call) for call in kept])

    async def _make(self, call: Call) -> None:
        try:
            await call()
        except StoreUnreachableError:
            self._calls.append(call)
            raise
