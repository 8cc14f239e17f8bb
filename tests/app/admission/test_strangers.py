"""Sockets that end without having authenticated."""

import pytest

from app.admission.strangers import Strangers
from schemas.prices import LATEST_SECONDS, STRANGER_SOCKETS, STRANGER_SOCKETS_PER_SECOND

HERE, THERE = b"here", b"there"


class Watch:
    """A clock that stands still until told."""

    def __init__(self, max_addresses: int = 100) -> None:
        self.time = 1000.0
        self.strangers = Strangers(lambda: self.time, max_addresses)


def test_the_first_are_free() -> None:
    """An address pays nothing for its first sockets, then waits longer with each; others never wait."""
    watch = Watch()
    for _ in range(STRANGER_SOCKETS):
        watch.strangers.ended(HERE)
    assert watch.strangers.wait(HERE) == pytest.approx(0, abs=1e-6)
    watch.strangers.ended(HERE)
    assert watch.strangers.wait(HERE) == pytest.approx(1 / STRANGER_SOCKETS_PER_SECOND)
    assert watch.strangers.wait(THERE) == 0


def test_nobody_waits_for_long() -> None:
    """However many sockets ended, the next one waits for two seconds at most, and soon for none."""
    watch = Watch()
    for _ in range(10_000):
        watch.strangers.ended(HERE)
    assert watch.strangers.wait(HERE) == pytest.approx(LATEST_SECONDS)
    watch.time += LATEST_SECONDS
    assert watch.strangers.wait(HERE) == pytest.approx(0, abs=1e-6)


def test_forgotten_when_paid() -> None:
    """An address that owes nothing is not remembered."""
    watch = Watch()
    watch.strangers.ended(HERE)
    watch.strangers.forget()
    assert len(watch.strangers) == 1
    watch.time += 1 / STRANGER_SOCKETS_PER_SECOND
    watch.strangers.forget()
    assert len(watch.strangers) == 0


def test_bounded() -> None:
    """The table has a bound: the address that has been quiet for the longest time is forgotten first."""
    watch = Watch(max_addresses=2)
    for address in (b"1", b"2", b"3"):
        watch.strangers.ended(address)
    assert len(watch.strangers) == 2
