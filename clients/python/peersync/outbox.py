"""What one connection still has to send: in order, and no faster than the server takes it."""

import asyncio
from collections.abc import Callable, Iterable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from peersync.events import SocketLimits

RATE_SHARE = 0.9
BURST_SHARE = 0.5  # what is sent evenly may arrive in bursts


class Pace:
    """A rate: `per_second` frames in the long run, `burst` at once. It says how long the next has to wait.

    `now` is monotonic, in seconds.
    """

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self._interval = 1 / per_second
        self._slack = (burst - 1) * self._interval
        self._used_until = now

    def wait(self, now: float) -> float:
        """Count one frame; returns the seconds before it may go."""
        self._used_until = max(self._used_until, now) + self._interval
        return max(0.0, self._used_until - self._interval - self._slack - now)


class Outbox:
    """Frames of one connection, the first ones given; `limits` are what the server has said, None if it has not."""

    def __init__(self, frames: Iterable[str], limits: SocketLimits | None, now: Callable[[], float]) -> None:
        self._frames: asyncio.Queue[str | None] = asyncio.Queue()
        for frame in frames:
            self.put(frame)
        self._now = now
        self._pace = None
        if limits is not None:
            self._pace = Pace(limits["eventsPerSecond"] * RATE_SHARE, max(1.0, limits["burst"] * BURST_SHARE), now())

    def put(self, frame: str) -> None:
        """Send this after what is there."""
        self._frames.put_nowait(frame)

    def finish(self) -> None:
        """Close the connection once all is sent."""
        self._frames.put_nowait(None)

    async def send_to(self, socket: ClientConnection) -> None:
        """Send until the connection is closed, by us or by the server."""
        try:
            while (frame := await self._frames.get()) is not None:
                if self._pace is not None and (seconds := self._pace.wait(self._now())):
                    await asyncio.sleep(seconds)
                await socket.send(frame)
            await socket.close()
        except ConnectionClosed:
            return  # the one that reads has seen it too
