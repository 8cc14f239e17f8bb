"""Failed authentications by address."""

import pytest
from structlog.testing import CapturingLogger

from app.wire.failures import AuthFailures
from app.wire.refusals import Refusals
from schemas.errors import Limit

HERE, THERE = b"here", b"there"


class House:
    """Failures, and a clock that stands still until told."""

    def __init__(self, per_minute: int, max_addresses: int = 100) -> None:
        self.time = 1000.0
        self.refusals = Refusals(CapturingLogger(), lambda: self.time)
        self.failures = AuthFailures(per_minute, self.refusals, lambda: self.time, max_addresses)


def test_so_many_a_minute() -> None:
    """So many may fail at once; then one more each time that one is forgiven, and of another address all the time."""
    house = House(60)
    for _ in range(60):
        assert house.failures.wait(HERE) == 0
        house.failures.failed(HERE)
    assert house.failures.wait(HERE) == pytest.approx(1)
    assert house.failures.wait(THERE) == 0
    assert house.refusals.counts[Limit.AUTH_FAILURES] == 1
    house.time += 1
    assert house.failures.wait(HERE) == 0
    house.failures.failed(HERE)
    assert house.failures.wait(HERE) == pytest.approx(1)


def test_many_at_once() -> None:
    """However many fail before the first is answered, a minute later all is forgiven."""
    house = House(2)
    for _ in range(1000):
        house.failures.failed(HERE)
    assert house.failures.wait(HERE) == pytest.approx(30)
    house.time += 60
    house.failures.forget()
    assert (house.failures.wait(HERE), len(house.failures)) == (0, 0)


def test_bounded() -> None:
    """No more than so many addresses are remembered, those that failed last."""
    house = House(1, max_addresses=3)
    for address in (b"1", b"2", b"1", b"3", b"4"):
        house.failures.failed(address)
    assert len(house.failures) == 3
    assert [house.failures.wait(address) > 0 for address in (b"1", b"2", b"3", b"4")] == [True, False, True, True]


def test_off() -> None:
    """With 0 nothing is counted."""
    house = House(0)
    for _ in range(1000):
        house.failures.failed(HERE)
    assert (house.failures.wait(HERE), len(house.failures)) == (0, 0)
