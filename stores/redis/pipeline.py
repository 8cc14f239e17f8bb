"""The pipeline: appends go to Redis at the end of a turn of the event loop, without waiting for earlier answers."""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
from msgspec import Struct

from stores.protocols import StoreUnreachableError
from stores.redis.client import Argument, Client, Wire

RETRY_SECONDS = 0.2
WINDOW_BYTES = 4_194_304
WINDOW_CALLS = 2000
_logger = logging.getLogger(__name__)


class Call(Struct, eq=False):
    """One command, about how many bytes it has, and who is told its answer."""

    command: Sequence[Argument]
    size: int
    answered: Callable[[Any], None]


class Pipeline:
    """Sends calls in order over one connection, and hands out their answers in order.

    Calls without an answer are sent again over the next connection, so a call must be safe to repeat. What is sent at
    once is bounded, the rest waits. `connected` is awaited over each new connection before anything is sent. `is_away`
    says whether Redis does not answer, as far as is known.
    """

    def __init__(
        self, client: Client, *scripts: str, connected: Callable[[Wire], Awaitable[None]] | None = None
    ) -> None:
        self._client = client
        self._connected = connected
        self._scripts = scripts
        self._waiting: deque[Call] = deque()
        self._sent: deque[Call] = deque()
        self._sent_bytes = 0
        self._due = anyio.Event()
        self._answered = anyio.Event()
        self.size = 0
        self.is_away = True
        self.why_stuck = ""

    def __len__(self) -> int:
        """Return how many calls have no answer."""
        return len(self._waiting) + len(self._sent)

    def put(self, call: Call) -> None:
        """Send a call after all that were put before."""
        self._waiting.append(call)
        self.size += call.size
        self._due.set()

    async def run(self) -> None:
        """Send and take answers, until cancelled. While Redis is away everything waits."""
        while True:
            try:
                async with self._client.wired(*self._scripts) as wire, anyio.create_task_group() as tasks:
                    if self._connected is not None:
                        await self._connected(wire)
                    self._waiting.extendleft(reversed(self._sent))
                    self._sent.clear()
                    self._sent_bytes = 0
                    self._due.set()
                    self.is_away = bool(self._waiting)
                    tasks.start_soon(self._take_answers, wire)
                    await self._send_all(wire)
            except* StoreUnreachableError as errors:
                self._note(str(errors.exceptions[0]))
            self.is_away = True
            await anyio.sleep(RETRY_SECONDS)

    async def drained(self) -> None:
        """Return once every call has its answer."""
        while len(self):
            await self._answered.wait()

    async def _send_all(self, wire: Wire) -> None:
        while True:
            while self._waiting:
                while len(self._sent) >= WINDOW_CALLS or self._sent_bytes >= WINDOW_BYTES:
                    await self._answered.wait()
                await wire.send(self._next_commands())
            await self._due.wait()
            self._due = anyio.Event()

    def _next_commands(self) -> list[Sequence[Argument]]:
        commands = []
        while self._waiting and len(self._sent) < WINDOW_CALLS and self._sent_bytes < WINDOW_BYTES:
            call = self._waiting.popleft()
            self._sent.append(call)
            self._sent_bytes += call.size
            commands.append(call.command)
        return commands

    async def _take_answers(self, wire: Wire) -> None:
        while True:
            for answer in await wire.read(is_due=lambda: bool(self._sent)):
                call = self._sent.popleft()
                self._sent_bytes -= call.size
                self.size -= call.size
                call.answered(answer)
            self.is_away, self.why_stuck = False, ""
            answered, self._answered = self._answered, anyio.Event()
            answered.set()

    def _note(self, why: str) -> None:
        """Note why calls have to wait; it is logged once."""
        if len(self):
            if not self.why_stuck:
                _logger.warning("appends wait for the store: %s", why)
            self.why_stuck = why
