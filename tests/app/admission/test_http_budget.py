"""The budget of HTTP requests of an address."""

import pytest

from app.admission.http_budget import HttpBudget
from schemas.prices import HTTP_BURST_SECONDS

HERE, THERE = b"here", b"there"


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.time


def test_a_burst_then_the_rate() -> None:
    """A burst passes, then one request for each interval; another address has a budget of its own."""
    clock = Clock()
    budget = HttpBudget(50, clock)
    assert sum(budget.charge(HERE) == 0 for _ in range(1000)) == 50 * HTTP_BURST_SECONDS
    assert budget.charge(HERE) == pytest.approx(0.02)
    assert budget.charge(THERE) == 0
    clock.time += 0.1
    assert sum(budget.charge(HERE) == 0 for _ in range(1000)) == 5


def test_prices() -> None:
    """A dear request takes more, and one dearer than all that can be saved passes once everything is saved."""
    clock = Clock()
    budget = HttpBudget(1, clock)
    assert budget.charge(HERE, 3) == 0
    assert budget.charge(HERE, 3) == pytest.approx(2)
    assert budget.charge(HERE, 1) == 0
    clock.time += 100
    assert budget.charge(HERE, 1_000_000) == 0


def test_no_limit() -> None:
    """0 a second means that nothing is refused or remembered."""
    budget = HttpBudget(0, Clock())
    assert not any(budget.charge(HERE) for _ in range(1000))
    assert len(budget) == 0


def test_addresses_are_bounded() -> None:
    """The address charged longest ago makes room, and who owes nothing is forgotten."""
    clock = Clock()
    budget = HttpBudget(1, clock, max_addresses=2)
    for address in (HERE, THERE, HERE, b"third"):
        budget.charge(address, 2)
    assert len(budget) == 2
    assert budget.charge(HERE) > 0
    clock.time += 4
    budget.evict_expired()
    assert len(budget) == 0
