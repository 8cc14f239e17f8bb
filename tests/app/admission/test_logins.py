"""How often a user may log in."""

from structlog.testing import CapturingLogger

from app.admission.logins import UserLogins
from app.admission.rejections import RejectionLog
from schemas.errors import ErrorCode, Limit, RetryAfter
from schemas.prices import LOGINS, LOGINS_PER_SECOND
from stores.model import User
from tests.support.doubles import ANN, BOB, refused

HERE = b"here"


def test_so_many_then_some_a_second() -> None:
    """A user has so many logins at once, then some a second; the refusal says when to try again. Others go on."""
    time = 1000.0
    rejections = RejectionLog(CapturingLogger(), lambda: time)
    logins = UserLogins(rejections.note, lambda: time)
    for _ in range(LOGINS + 1):
        logins.admit(ANN, HERE)
    with refused(ErrorCode.RATE_LIMITED) as info:
        logins.admit(ANN, HERE)
    assert isinstance(info.value.details, RetryAfter)
    assert 0 < info.value.details.retry_after_ms <= 1000 / LOGINS_PER_SECOND + 1
    assert rejections.counts[Limit.LOGINS] == 1
    logins.admit(BOB, HERE)
    logins.admit(User("ann", "acme"), HERE)
    time += info.value.details.retry_after_ms / 1000
    logins.admit(ANN, HERE)
    time += 60
    logins.evict_expired()
    assert len(logins) == 0
