"""A burst of HTTP requests in a process of its own: `python -m tests.hardening.bursts`, a `Burst` in JSON on its input.

All connections are made and all requests sent at once; it ends when all are answered, or the server has closed.
"""

import asyncio
import os
import re
import sys
import time

import msgspec
from msgspec import Struct, field

PATIENCE = 20.0
STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d)")


class Burst(Struct):
    """So many connections from so many addresses, each with the same request so many times."""

    port: int
    connections: int
    each: int
    request: bytes
    sources: int = 1


class Outcome(Struct):
    """What came back, and how long all of it took, in seconds."""

    statuses: dict[str, int] = field(default_factory=dict)
    received: int = 0
    seconds: float = 0.0


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, burst: Burst, outcome: Outcome) -> None:
        self._burst = burst
        self._outcome = outcome
        self._answered = 0
        self._rest = b""
        self.is_done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._burst.request * self._burst.each)

    def data_received(self, data: bytes) -> None:
        self._outcome.received += len(data)
        text = self._rest + data
        for status in STATUS.findall(text):
            name = status.decode()
            self._outcome.statuses[name] = self._outcome.statuses.get(name, 0) + 1
            self._answered += 1
        self._rest = b"" if STATUS.search(text[-12:]) else text[-11:]
        if self._answered >= self._burst.each:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_done.done():
            self.is_done.set_result(None)


async def run(burst: Burst) -> Outcome:
    """Send all, and return what came back."""
    outcome, loop, began = Outcome(), asyncio.get_running_loop(), time.perf_counter()

    async def one(number: int) -> None:
        source = f"127.0.8.{number % burst.sources + 1}"
        try:
            _, client = await loop.create_connection(
                lambda: Client(burst, outcome), "127.0.0.1", burst.port, local_addr=(source, 0)
            )
            await asyncio.wait_for(client.is_done, PATIENCE)
        except (OSError, TimeoutError) as error:
            name = type(error).__name__
            outcome.statuses[name] = outcome.statuses.get(name, 0) + 1

    await asyncio.gather(*(one(number) for number in range(burst.connections)))
    outcome.seconds = time.perf_counter() - began
    return outcome


if __name__ == "__main__":
    os.nice(5)
    decoded = msgspec.json.decode(sys.stdin.buffer.read(), type=Burst)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(run(decoded))))
