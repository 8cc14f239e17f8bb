"""Counting rejections, and saying so now and then."""

from structlog.testing import CapturingLogger

from app.admission.rejections import RejectionLog
from schemas.errors import Limit


def test_once_a_second() -> None:
    """All are counted; one a second of each kind is logged, with a hashed address and how many were not."""
    log, time = CapturingLogger(), 5.0
    rejections = RejectionLog(log, lambda: time)
    for limit in (Limit.ORIGIN, Limit.ORIGIN, Limit.EVENTS, Limit.ORIGIN):
        rejections.note(limit, b"\x12" * 16)
    time = 6.0
    rejections.note(Limit.ORIGIN, b"\x34" * 16)
    assert {limit: count for limit, count in rejections.counts.items() if count} == {Limit.ORIGIN: 4, Limit.EVENTS: 1}
    assert [call.kwargs for call in log.calls] == [
        {"limit": "origin", "address": "12" * 6, "suppressed": 0},
        {"limit": "events", "address": "12" * 6, "suppressed": 0},
        {"limit": "origin", "address": "34" * 6, "suppressed": 2},
    ]
