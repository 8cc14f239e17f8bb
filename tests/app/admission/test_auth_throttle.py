"""Failed authentications by address."""

from contextlib import suppress

import pytest
from structlog.testing import CapturingLogger

from app.admission.auth_throttle import VERIFICATIONS, VERIFICATIONS_PER_SECOND, AuthThrottle
from app.admission.rejections import RejectionLog
from schemas.errors import ErrorCode, EventError, Limit, RetryAfter
from schemas.prices import STRANGER_SOCKETS, STRANGER_SOCKETS_PER_SECOND
from tests.support.doubles import refused

HERE, THERE = b"here", b"there"


class Harness:
    """Failures, and a clock that stands still until told."""

    def __init__(self, per_minute: int, max_addresses: int = 100) -> None:
        self.time = 1000.0
        self.rejections = RejectionLog(CapturingLogger(), lambda: self.time)
        self.auth_throttle = AuthThrottle(per_minute, self.rejections, lambda: self.time, max_addresses)

    def fail(self, address: bytes = HERE, code: ErrorCode = ErrorCode.TOKEN_INVALID) -> bool:
        """Fail once; return whether that was answered as throttled."""
        refusal = EventError(code, "no good")
        answer = self.auth_throttle.failed(address, refusal)
        assert answer is refusal or answer.code is ErrorCode.RATE_LIMITED
        return answer is not refusal

    def verifications(self, address: bytes = HERE) -> int:
        """Return how many tokens are verified now, of as many as come."""
        count = 0
        with suppress(EventError):
            for count in range(1000):  # noqa: B007 - how many there were
                self.auth_throttle.look(address)
            return 1000
        return count

    def retry_after_ms(self) -> int:
        """Return when an address that has used up its verifications may come again."""
        with refused(ErrorCode.RATE_LIMITED) as refusal:
            self.auth_throttle.look(HERE)
        assert isinstance(refusal.value.details, RetryAfter)
        return refusal.value.details.retry_after_ms


def test_so_many_a_minute() -> None:
    """So many may fail at once; then one more each time that one is forgiven, and of another address all the time."""
    harness = Harness(60)
    for _ in range(60):
        assert harness.auth_throttle.wait(HERE) == 0
        assert not harness.fail()
    assert harness.auth_throttle.wait(HERE) == pytest.approx(1)
    assert harness.auth_throttle.wait(THERE) == 0
    assert harness.rejections.counts[Limit.AUTH_FAILURES] == 0
    assert harness.fail()
    assert harness.rejections.counts[Limit.AUTH_FAILURES] == 1
    harness.time += 1
    assert harness.auth_throttle.wait(HERE) == 0
    assert not harness.fail()
    assert harness.auth_throttle.wait(HERE) == pytest.approx(1)


def test_a_good_token_beside_bad_ones() -> None:
    """While somebody at the address keeps failing twice a second, a good token there is always looked at."""
    harness = Harness(60)
    for half_second in range(600):
        if half_second % 7 == 0:
            harness.auth_throttle.look(HERE)  # the good one
        harness.auth_throttle.look(HERE)
        assert harness.fail() == (half_second > 118)
        harness.time += 0.5


def test_a_good_token_after_many_bad_ones() -> None:
    """However long somebody fails, as fast as sockets let in one after the other allow, a good token is looked at."""
    harness = Harness(60)
    for number in range(2000):
        harness.auth_throttle.look(HERE)
        harness.fail()
        harness.time += 0 if number < STRANGER_SOCKETS else 1 / STRANGER_SOCKETS_PER_SECOND
        if number >= STRANGER_SOCKETS - 1:
            harness.auth_throttle.look(HERE)  # the good one


def test_verifications_of_a_throttled_address() -> None:
    """A burst of tokens is verified, then so many a second; all tokens of an address that is not throttled are."""
    harness = Harness(60)
    assert harness.verifications() == 1000
    for _ in range(60):
        harness.fail()
    assert harness.verifications() == VERIFICATIONS
    assert harness.verifications(THERE) == 1000
    assert harness.retry_after_ms() == pytest.approx(1000 / VERIFICATIONS_PER_SECOND / 2, abs=1)
    for _ in range(4):
        harness.time += 1 / VERIFICATIONS_PER_SECOND
        assert harness.verifications() == 1
        harness.fail()


def test_what_is_no_failure() -> None:
    """A missing token does not count, nor does a token that was not looked at."""
    harness = Harness(1)
    for code in (ErrorCode.TOKEN_MISSING, ErrorCode.RATE_LIMITED):
        harness.auth_throttle.failed(HERE, EventError(code, "no failure"))
    assert (harness.auth_throttle.wait(HERE), len(harness.auth_throttle), harness.auth_throttle.count) == (0, 0, 0)


def test_many_at_once() -> None:
    """However many fail before the first is answered, a minute later all is forgiven."""
    harness = Harness(2)
    for _ in range(1000):
        harness.fail()
    assert harness.auth_throttle.wait(HERE) == pytest.approx(30)
    harness.time += 60
    harness.auth_throttle.evict_expired()
    assert (harness.auth_throttle.wait(HERE), len(harness.auth_throttle)) == (0, 0)


def test_bounded() -> None:
    """No more than so many addresses are remembered, those that failed last."""
    harness = Harness(1, max_addresses=3)
    for address in (b"1", b"2", b"1", b"3", b"4"):
        harness.fail(address)
    assert len(harness.auth_throttle) == 3
    assert [harness.auth_throttle.wait(address) > 0 for address in (b"1", b"2", b"3", b"4")] == [
        True,
        False,
        True,
        True,
    ]


def test_off() -> None:
    """With 0 nothing is counted."""
    harness = Harness(0)
    for _ in range(1000):
        harness.fail()
    assert (harness.auth_throttle.wait(HERE), len(harness.auth_throttle)) == (0, 0)
