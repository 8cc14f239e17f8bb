"""Failed authentications by address."""

from contextlib import suppress

import pytest
from structlog.testing import CapturingLogger

from app.admission.auth_throttle import LOOKS, LOOKS_PER_SECOND, AuthFailures
from app.admission.rejections import Refusals
from schemas.errors import ErrorCode, EventError, Limit, RetryAfter
from schemas.prices import STRANGER_SOCKETS, STRANGER_SOCKETS_PER_SECOND
from tests.support.doubles import refused

HERE, THERE = b"here", b"there"


class House:
    """Failures, and a clock that stands still until told."""

    def __init__(self, per_minute: int, max_addresses: int = 100) -> None:
        self.time = 1000.0
        self.refusals = Refusals(CapturingLogger(), lambda: self.time)
        self.failures = AuthFailures(per_minute, self.refusals, lambda: self.time, max_addresses)

    def fail(self, address: bytes = HERE, code: ErrorCode = ErrorCode.TOKEN_INVALID) -> bool:
        """Fail once; return whether that was answered as throttled."""
        refusal = EventError(code, "no good")
        answer = self.failures.failed(address, refusal)
        assert answer is refusal or answer.code is ErrorCode.RATE_LIMITED
        return answer is not refusal

    def looks(self, address: bytes = HERE) -> int:
        """Return how many tokens are looked at now, of as many as come."""
        count = 0
        with suppress(EventError):
            for count in range(1000):  # noqa: B007 - how many there were
                self.failures.look(address)
            return 1000
        return count

    def retry_after_ms(self) -> int:
        """Return when an address that has had its looks may come again."""
        with refused(ErrorCode.RATE_LIMITED) as refusal:
            self.failures.look(HERE)
        assert isinstance(refusal.value.details, RetryAfter)
        return refusal.value.details.retry_after_ms


def test_so_many_a_minute() -> None:
    """So many may fail at once; then one more each time that one is forgiven, and of another address all the time."""
    house = House(60)
    for _ in range(60):
        assert house.failures.wait(HERE) == 0
        assert not house.fail()
    assert house.failures.wait(HERE) == pytest.approx(1)
    assert house.failures.wait(THERE) == 0
    assert house.refusals.counts[Limit.AUTH_FAILURES] == 0
    assert house.fail()
    assert house.refusals.counts[Limit.AUTH_FAILURES] == 1
    house.time += 1
    assert house.failures.wait(HERE) == 0
    assert not house.fail()
    assert house.failures.wait(HERE) == pytest.approx(1)


def test_a_good_token_beside_bad_ones() -> None:
    """While somebody at the address keeps failing twice a second, a good token there is always looked at."""
    house = House(60)
    for half_second in range(600):
        if half_second % 7 == 0:
            house.failures.look(HERE)  # the good one
        house.failures.look(HERE)
        assert house.fail() == (half_second > 118)
        house.time += 0.5


def test_a_good_token_after_many_bad_ones() -> None:
    """However long somebody fails, as fast as sockets let in one after the other allow, a good token is looked at."""
    house = House(60)
    for number in range(2000):
        house.failures.look(HERE)
        house.fail()
        house.time += 0 if number < STRANGER_SOCKETS else 1 / STRANGER_SOCKETS_PER_SECOND
        if number >= STRANGER_SOCKETS - 1:
            house.failures.look(HERE)  # the good one


def test_looks_at_a_throttled_address() -> None:
    """So many tokens are looked at at once, so many a second one by one; of an address that is not throttled, all."""
    house = House(60)
    assert house.looks() == 1000
    for _ in range(60):
        house.fail()
    assert house.looks() == LOOKS
    assert house.looks(THERE) == 1000
    assert house.retry_after_ms() == pytest.approx(1000 / LOOKS_PER_SECOND / 2, abs=1)
    for _ in range(4):
        house.time += 1 / LOOKS_PER_SECOND
        assert house.looks() == 1
        house.fail()


def test_what_is_no_failure() -> None:
    """A missing token does not count, nor does a token that was not looked at."""
    house = House(1)
    for code in (ErrorCode.TOKEN_MISSING, ErrorCode.RATE_LIMITED):
        house.failures.failed(HERE, EventError(code, "no failure"))
    assert (house.failures.wait(HERE), len(house.failures), house.failures.count) == (0, 0, 0)


def test_many_at_once() -> None:
    """However many fail before the first is answered, a minute later all is forgiven."""
    house = House(2)
    for _ in range(1000):
        house.fail()
    assert house.failures.wait(HERE) == pytest.approx(30)
    house.time += 60
    house.failures.forget()
    assert (house.failures.wait(HERE), len(house.failures)) == (0, 0)


def test_bounded() -> None:
    """No more than so many addresses are remembered, those that failed last."""
    house = House(1, max_addresses=3)
    for address in (b"1", b"2", b"1", b"3", b"4"):
        house.fail(address)
    assert len(house.failures) == 3
    assert [house.failures.wait(address) > 0 for address in (b"1", b"2", b"3", b"4")] == [True, False, True, True]


def test_off() -> None:
    """With 0 nothing is counted."""
    house = House(0)
    for _ in range(1000):
        house.fail()
    assert (house.failures.wait(HERE), len(house.failures)) == (0, 0)
