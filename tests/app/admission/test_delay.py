"""Sockets that are let in late."""

import anyio

from app.admission.allowance import Allowance
from app.admission.delay import Delay

HERE, THERE = b"here", b"there"


async def test_only_who_owes_waits() -> None:
    """A socket waits as long as its address has to; those of other addresses do not."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    allowance: Allowance[bytes] = Allowance(1, 4, lambda: 1000.0)
    delay = Delay(allowance, 10, sleep)
    for _ in range(3):
        allowance.charge(HERE)
    assert await delay.wait(THERE)
    assert slept == []
    assert await delay.wait(HERE)
    assert slept == [0.5]


async def test_so_many_wait() -> None:
    """Beyond its bound a socket is turned away instead; who has waited makes room."""
    allowance: Allowance[bytes] = Allowance(1, 4, lambda: 1000.0)
    for _ in range(3):
        allowance.charge(HERE)
    over = anyio.Event()

    async def sleep(_seconds: float) -> None:
        await over.wait()

    delay = Delay(allowance, 2, sleep)
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(delay.wait, HERE)
        await anyio.wait_all_tasks_blocked()
        assert len(delay) == 2
        assert not await delay.wait(HERE)
        assert await delay.wait(THERE)
        over.set()
    assert len(delay) == 0
    assert await delay.wait(HERE)
