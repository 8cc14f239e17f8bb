"""A simulated network: links that take their time, and break in ways that one end or both do not notice."""

from asyncio import AbstractEventLoop
from collections.abc import Callable
from functools import partial
from typing import Protocol

from app.gateway.connection import Connection
from app.wire.kernel import UNKNOWN, Progress
from schemas.errors import CloseCode

HIGH_WATER = 4096
INSTANT = 1e-7


class End(Protocol):
    """The client's end of a link."""

    def received(self, link: "Link", frame: bytes) -> None:
        """Take a frame."""
        ...

    def closed(self, link: "Link", code: int) -> None:
        """Take note that the server closed, or that the connection broke (1006)."""
        ...


class Network:
    """Time, and its moments: nothing happens at the same one as something else, so events have the order of time.

    `on_arrival` is told of every frame just before the server gets it.
    """

    def __init__(self, loop: AbstractEventLoop, on_arrival: Callable[["Link", bytes], None]) -> None:
        self.loop = loop
        self.on_arrival = on_arrival
        self._taken: set[int] = set()

    def moment(self, time: float) -> float:
        """Return a time that is hardly later."""
        moment = int(time / INSTANT) + 1
        while moment in self._taken:
            moment += 1
        self._taken.add(moment)
        return moment * INSTANT


class Link:
    """See `app.wire.transport.Transport`: one connection. What is sent either way arrives in order, `latency` later."""

    def __init__(self, network: Network, end: End, latency: float) -> None:
        self._network = network
        self._loop = network.loop
        self._end = end
        self._latency = latency
        self._last_up = self._last_down = 0.0
        self._waiting: list[bytes] = []
        self._backlog = 0
        self._is_asked = False
        self.connection: Connection | None = None
        self.is_broken = False
        self.is_stalled = False
        self.is_closed = False

    @property
    def number(self) -> int:
        """The socket's number at the server."""
        assert self.connection is not None
        return self.connection.holder.socket

    def send(self, frame: bytes) -> None:
        """Send a frame to the server."""
        self._up(lambda: self._arrive(frame))

    def say_goodbye(self) -> None:
        """Close as a client does."""
        self._up(lambda: self._at_server(CloseCode.NORMAL))

    def break_off(self, *, is_noticed: bool) -> None:
        """Lose all that is on its way; the server takes note at once, or has to find out."""
        self.is_broken = True
        if is_noticed:
            self._loop.call_at(self._network.moment(self._loop.time()), self._at_server, CloseCode.ABNORMAL)

    def stall(self) -> None:
        """Have the client read no more."""
        self.is_stalled = True

    def read_on(self) -> None:
        """Have the client read what has come meanwhile."""
        self.is_stalled = False
        waiting, self._waiting = self._waiting, []
        for frame in waiting:
            self._end.received(self, frame)
        if self._is_asked:
            self._at_ping()
        if self._backlog:
            self._backlog = 0
            if self.connection is not None and self.connection.outbox.is_congested:
                self.connection.outbox.relieve()

    def write(self, payloads: list[bytes]) -> None:
        if self.is_stalled:
            self._backlog += sum(map(len, payloads))
        for payload in payloads:
            self._down(partial(self._deliver, payload))
        if self._backlog > HIGH_WATER and self.connection is not None:
            self.connection.outbox.congest()

    def backlog(self) -> int:
        return self._backlog

    def close(self, code: int, reason: str) -> None:
        self.is_closed = True
        self._down(lambda: self._end.closed(self, code))

    def abort(self) -> None:
        self.is_broken = True
        self._loop.call_at(
            self._network.moment(self._loop.time() + self._latency), self._end.closed, self, CloseCode.ABNORMAL
        )

    def slow_down(self, seconds: float) -> None:
        pass

    def stop_reading(self) -> None:
        pass

    def progress(self) -> Progress:
        return UNKNOWN

    def ping(self) -> bool:
        self._down(self._at_ping)
        return True

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def _at_ping(self) -> None:
        self._is_asked = self.is_stalled
        if not self.is_stalled:
            self._up(self._pong)

    def _pong(self) -> None:
        if self.connection is not None and not self.is_closed:
            self.connection.was_heard = True
            self.connection.ponged()

    def _arrive(self, frame: bytes) -> None:
        if self.connection is not None and not self.is_closed:
            self._network.on_arrival(self, frame)
            self.connection.was_heard = True
            self.connection.receive(frame)

    def _at_server(self, code: int) -> None:
        if self.connection is not None and not self.is_closed:
            self.connection.closed(code)

    def _deliver(self, frame: bytes) -> None:
        if self.is_stalled:
            self._waiting.append(frame)
        else:
            self._end.received(self, frame)

    def _up(self, act: Callable[[], object]) -> None:
        self._last_up = self._network.moment(max(self._last_up, self._loop.time() + self._latency))
        self._loop.call_at(self._last_up, self._unless_broken, act)

    def _down(self, act: Callable[[], object]) -> None:
        self._last_down = self._network.moment(max(self._last_down, self._loop.time() + self._latency))
        self._loop.call_at(self._last_down, self._unless_broken, act)

    def _unless_broken(self, act: Callable[[], object]) -> None:
        if not self.is_broken:
            act()
