"""Which sockets of a node that stops are closed when, by a clock that stands still until told."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.gateway.drain import Drain
from schemas.errors import CloseCode
from schemas.notices import ServerNotice


class Socket:
    """A socket that takes itself from the others when it is closed."""

    def __init__(self, number: int, sockets: "dict[int, Socket]") -> None:
        self.number = number
        self.sockets = sockets
        self.notices: list[ServerNotice] = []
        self.fails = False
        sockets[number] = self

    def notify(self, notice: ServerNotice) -> None:
        self._fail()
        self.notices.append(notice)

    def close(self, code: CloseCode, reason: str) -> None:
        self._fail()
        assert (code, reason) == (CloseCode.RESTART, "This node restarts")
        del self.sockets[self.number]

    def _fail(self) -> None:
        if self.fails:
            raise ZeroDivisionError


class Harness:
    """So many sockets and a clock."""

    def __init__(self, count: int) -> None:
        self.time = 0.0
        self.sockets: dict[int, Socket] = {}
        for number in range(count):
            Socket(number, self.sockets)

    def drain(self, seconds: float) -> Drain:
        """Begin."""
        return Drain(self.sockets, seconds, lambda: self.time)

    def run(self, drain: Drain, step: float) -> list[int]:
        """Go on to the end; return how many sockets there were after each step."""
        left: list[int] = []
        is_over = False
        while not is_over:
            self.time += step
            is_over = drain.step()
            left.append(len(self.sockets))
        return left


def test_spread() -> None:
    """Sockets are closed evenly over the time, the oldest first, each of them told before."""
    harness = Harness(20_000)
    first, last = harness.sockets[0], harness.sockets[19_999]
    drain = harness.drain(20)
    assert first.notices == last.notices == [ServerNotice(kind="draining", closes_in_seconds=20)]
    harness.time = 0.1
    assert not drain.step()
    assert list(harness.sockets) == list(range(100, 20_000))
    left = harness.run(drain, 0.1)
    assert left == pytest.approx([19_800 - 100 * n for n in range(len(left))], abs=100)
    assert (left[-1], round(harness.time, 1)) == (0, 20)


def test_few() -> None:
    """A few sockets take a few milliseconds."""
    harness = Harness(2)
    first = harness.sockets[0]
    drain = harness.drain(20)
    assert first.notices == [ServerNotice(kind="draining", closes_in_seconds=0.02)]
    assert harness.run(drain, 0.1) == [0]


@pytest.mark.parametrize(("count", "seconds"), [(0, 20), (5000, 0)])
def test_nothing_to_wait_for(count: int, seconds: float) -> None:
    """Without sockets, or without time, one step is all."""
    harness = Harness(count)
    assert harness.run(harness.drain(seconds), 0.1) == [0]


def test_slow_steps() -> None:
    """Late steps close more each, and do not prolong the drain."""
    harness = Harness(1000)
    assert harness.run(harness.drain(10), 4) == pytest.approx([600, 200, 0], abs=1)


def test_comings_and_goings() -> None:
    """Who comes meanwhile has its turn; who goes by itself is not waited for."""
    harness = Harness(1000)
    drain = harness.drain(10)
    harness.time = 5
    assert not drain.step()
    late = Socket(1000, harness.sockets)
    drain.tell(late)
    assert late.notices == [ServerNotice(kind="draining", closes_in_seconds=5)]
    assert harness.run(drain, 0.1)[-1] == 0
    harness = Harness(1000)
    drain = harness.drain(10)
    harness.sockets.clear()
    assert harness.run(drain, 0.1) == [0]


def test_one_that_fails() -> None:
    """What goes wrong with one socket keeps no other from being told and closed."""
    harness = Harness(3)
    harness.sockets[1].fails = True
    failed: list[object] = []

    @contextmanager
    def guard(socket: object) -> Iterator[None]:
        try:
            yield
        except ZeroDivisionError:
            failed.append(socket)

    drain = Drain(harness.sockets, 1, lambda: harness.time, guard)
    assert [len(socket.notices) for socket in harness.sockets.values()] == [1, 0, 1]
    harness.time = 1
    assert drain.step()
    assert (list(harness.sockets), failed) == ([1], [harness.sockets[1]] * 2)
