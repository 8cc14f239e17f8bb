"""Values that many ask for."""

import anyio
import pytest

from app.cached import CachedValue

pytestmark = pytest.mark.anyio


class Maker:
    """Counts how often something is made, which takes until it may go on; its clock moves when told."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.made = 0
        self.may_go_on = anyio.Event()

    async def make(self) -> int:
        """Make a number."""
        self.made += 1
        made = self.made
        await self.may_go_on.wait()
        return made


async def values(ask: CachedValue[int], maker: Maker, times: int) -> list[int]:
    """Return what so many get who ask at once."""
    got: list[int] = []

    async def note() -> None:
        got.append(await ask.get())

    async with anyio.create_task_group() as tasks:
        for _ in range(times):
            tasks.start_soon(note)
        await anyio.wait_all_tasks_blocked()
        maker.may_go_on.set()
    return got


async def test_shared() -> None:
    """All who ask within a second get the same, also those who ask while it is made."""
    maker = Maker()
    shared = CachedValue(maker.make, 1.0, lambda: maker.time)
    assert await values(shared, maker, 100) == [1] * 100
    maker.time += 0.9
    assert await shared.get() == 1
    maker.time += 0.2
    assert await shared.get() == 2


async def test_a_failure_is_not_shared() -> None:
    """What making it raises goes to one; the next has it made again."""
    outcomes = iter([ValueError("once"), None])

    async def make() -> str:
        if (error := next(outcomes)) is not None:
            raise error
        return "made"

    shared = CachedValue(make, 1.0, lambda: 0.0)
    with pytest.raises(ValueError, match="once"):
        await shared.get()
    assert await shared.get() == "made"
