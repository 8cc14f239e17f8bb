"""How much each of many may do."""

import pytest

from app.admission.allowance import Allowance

HERE, THERE = b"here", b"there"


class Watch:
    """An allowance of ten at once and two a second, and a clock that stands still until told."""

    def __init__(self, max_keys: int = 100) -> None:
        self.time = 1000.0
        self.allowance: Allowance[bytes] = Allowance(10, 2, lambda: self.time, longest_wait=3, max_keys=max_keys)


def test_the_first_are_free() -> None:
    """A key pays nothing for its first, then waits longer with each; other keys never wait."""
    watch = Watch()
    for _ in range(10):
        watch.allowance.charge(HERE)
    assert watch.allowance.wait(HERE) == pytest.approx(0, abs=1e-6)
    watch.allowance.charge(HERE)
    assert watch.allowance.wait(HERE) == pytest.approx(1 / 2)
    assert watch.allowance.wait(THERE) == 0


def test_the_longest_wait() -> None:
    """However much a key has done, it waits no longer than the longest wait, and then need not."""
    watch = Watch()
    for _ in range(10_000):
        watch.allowance.charge(HERE)
    assert watch.allowance.wait(HERE) == pytest.approx(3)
    watch.time += 3
    assert watch.allowance.wait(HERE) == pytest.approx(0, abs=1e-6)


def test_forgotten_when_paid() -> None:
    """A key that owes nothing is not remembered."""
    watch = Watch()
    watch.allowance.charge(HERE)
    watch.allowance.evict_expired()
    assert len(watch.allowance) == 1
    watch.time += 1 / 2
    watch.allowance.evict_expired()
    assert len(watch.allowance) == 0


def test_bounded() -> None:
    """The table has a bound: the key that has been quiet longest is forgotten first."""
    watch = Watch(max_keys=2)
    for key in (b"1", b"2", b"1", b"3"):
        watch.allowance.charge(key)
    assert len(watch.allowance) == 2
    for _ in range(10):
        watch.allowance.charge(b"1")
    assert watch.allowance.wait(b"1") > 0.5
