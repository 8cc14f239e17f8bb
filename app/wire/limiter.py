"""Rate limiting of one socket (protocol.md section 4, ERR_5004), by the generic cell rate algorithm.

The whole state is one point in time: when the socket would have used up all it sent, at the long-run rate. How far
that lies ahead is what it has borrowed; it may borrow up to the burst.
"""

from msgspec import Struct

NOTICE_SECONDS = 1.0
PATIENCE_SECONDS = 10.0
PENALTY_SECONDS = 1.0
PENALTY_SHARE = 0.5
MARGIN_SECONDS = 0.05


class Rate(Struct, frozen=True):
    """Events a second in the long run, and at once."""

    per_second: float
    burst: float


class Verdict(Struct, frozen=True):
    """A refusal: `retry_after` in seconds, whether to say so now, whether patience is over."""

    retry_after: float
    is_due: bool
    is_final: bool


class Limiter:
    """Lets events pass at a rate. A refused one costs half of one that passes, up to a second's worth.

    So a client somewhat over its rate is heard less, and one at twice its rate is not heard at all until it pauses.
    """

    __slots__ = ("_interval", "_noticed_at", "_refused_since", "_slack", "_used_until")

    def __init__(self, rate: Rate) -> None:
        self._interval = 1.0 / rate.per_second
        self._slack = (rate.burst - 1.0) * self._interval
        self._used_until = 0.0
        self._refused_since: float | None = None
        self._noticed_at: float | None = None

    def admit(self, now: float) -> Verdict | None:
        """Count one event at `now`, monotonic seconds; None if it passes."""
        ahead = self._used_until - now
        if ahead > self._slack:
            return self._refuse(now, ahead)
        self._used_until = (self._used_until if ahead > 0.0 else now) + self._interval
        self._refused_since = None
        return None

    def _refuse(self, now: float, ahead: float) -> Verdict:
        """Return the refusal. More events may be on their way and cost too, so the wait is the longest."""
        self._used_until = now + min(ahead + PENALTY_SHARE * self._interval, self._slack + PENALTY_SECONDS)
        if self._refused_since is None:
            self._refused_since = now
        is_due = self._noticed_at is None or now - self._noticed_at >= NOTICE_SECONDS
        if is_due:
            self._noticed_at = now
        return Verdict(PENALTY_SECONDS + MARGIN_SECONDS, is_due, now - self._refused_since >= PATIENCE_SECONDS)
