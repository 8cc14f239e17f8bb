"""The pipe: commands that go to Redis at the end of a turn of the event loop, without waiting for earlier answers."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import anyio
from msgspec import Struct

from stores.base import StoreUnreachableError
from stores.redis.client import Argument, Client, Wire

RETRY_SECONDS = 0.2
DOUBLINGS = 3
LOADS = 4
SLOW_SECONDS = 0.25
_logger = logging.getLogger(__name__)


class Load(Struct):
    """Commands that go out together.

    `told` has who is told of each answer, None where nobody is; `sent` are called once all of them are on their way.
    One that is not whole lacks some of what is due, which comes with the next.
    """

    commands: list[Sequence[Argument]]
    told: list[Callable[[Any], None] | None]
    sent: list[Callable[[], None]]
    is_whole: bool = True


class Pipe:
    """Takes loads from `take` whenever one is due, and sends them in order.

    Over each new connection those without an answer are sent again, so to do a command twice must be to do it once.
    `answered` is called after whoever is told of a load's answers.
    """

    def __init__(
        self, client: Client, sources: Sequence[str], take: Callable[[], Load], answered: Callable[[], None]
    ) -> None:
        self._client = client
        self._sources = sources
        self._take = take
        self._answered = answered
        self._due = anyio.Event()
        self._moved = anyio.Event()
        self._loads: deque[Load] = deque()
        self._unsent: list[Callable[[], None]] = []
        self._failures = 0
        self.is_away = True
        self.why_stuck = ""

    @property
    def is_idle(self) -> bool:
        """Whether every load that was taken has its answer."""
        return not self._loads

    async def moved(self) -> None:
        """Return once something was sent or answered."""
        await self._moved.wait()

    def wake(self) -> None:
        """Say that a load is due."""
        self._due.set()

    def when_sent(self, call: Callable[[], None]) -> bool:
        """Call this once what is due by now is on its way; False, not calling it, if Redis does not answer anyway."""
        if self.is_away:
            return False
        self._unsent.append(call)
        return True

    async def run(self) -> None:
        """Send and take answers, until cancelled. While Redis is away it waits.

        `why_stuck` says why the latest load failed, until one gets through.
        """
        while True:
            try:
                async with self._client.wired(self._sources) as wire:
                    await self._serve(wire)
            except* StoreUnreachableError as errors:
                self._note(str(errors.exceptions[0]))
            self._lose()
            await anyio.sleep(RETRY_SECONDS * 2 ** min(self._failures, DOUBLINGS))

    async def drain(self) -> None:
        """Send what there is, and return once it is answered; raises `StoreUnreachableError` if that cannot be."""
        self._load()
        async with self._client.wired(self._sources) as wire:
            for load in self._loads:
                await wire.send(load.commands)
            while self._loads:
                await self._answer(wire)

    async def _serve(self, wire: Wire) -> None:
        async with anyio.create_task_group() as tasks:
            self._failures += bool(self._loads)
            for load in self._loads:
                await wire.send(load.commands)
            if not self._loads:
                self._get_through()
            tasks.start_soon(self._take_answers, wire)
            while True:
                await self._due.wait()
                await self._have_room()
                self._due = anyio.Event()
                load = self._load()
                await wire.send(load.commands)
                _call_all(load.sent)
                self._move()

    async def _have_room(self) -> None:
        """Wait until not too much is without an answer; what is to be sent meanwhile does not wait for long."""
        with anyio.move_on_after(SLOW_SECONDS):
            await self._has_room()
            return
        self._lose()
        await self._has_room()

    async def _has_room(self) -> None:
        while len(self._loads) >= LOADS:
            await self._moved.wait()

    async def _take_answers(self, wire: Wire) -> None:
        while True:
            while not self._loads:
                await self._moved.wait()
            await self._answer(wire)

    async def _answer(self, wire: Wire) -> None:
        """Take the answers to the oldest load."""
        load = self._loads[0]
        answers = await wire.answers(len(load.commands))
        self._loads.popleft()
        self._get_through()
        for told, answer in zip(load.told, answers, strict=True):
            if told is not None:
                told(answer)
        self._answered()
        self._move()

    def _load(self) -> Load:
        load = self._take()
        if load.is_whole:
            load.sent += self._unsent
            self._unsent = []
        self._loads.append(load)
        return load

    def _move(self) -> None:
        moved, self._moved = self._moved, anyio.Event()
        moved.set()

    def _get_through(self) -> None:
        self._failures = 0
        self.is_away = False
        self.why_stuck = ""

    def _note(self, why: str) -> None:
        """Note why what was sent has to go again; it is logged once."""
        if self._loads:
            if not self.why_stuck:
                _logger.warning("what was sent to the store goes again: %s", why)
            self.why_stuck = why

    def _lose(self) -> None:
        """Note that Redis does not answer: nothing waits to be sent."""
        self.is_away = True
        waiting = [call for load in self._loads for call in load.sent] + self._unsent
        self._unsent = []
        for load in self._loads:
            load.sent.clear()
        _call_all(waiting)


def _call_all(calls: list[Callable[[], None]]) -> None:
    """Call each of them, once."""
    due = calls.copy()
    calls.clear()
    for call in due:
        call()
