"""The rate limit of one socket (docs/protocol.md section 4, ERR_5004), by the generic cell rate algorithm.

The state is one point in time: when the socket will have paid, at the long-run rate, for everything it sent. The time
until then is its debt; events pass while the debt is within the burst. `schemas/prices.py` has the prices.
"""

from msgspec import Struct

NOTICE_SECONDS = 1.0
PATIENCE_SECONDS = 10.0
PENALTY_SECONDS = 1.0
PENALTY_SHARE = 0.5
MARGIN_SECONDS = 0.05
FIRST_EVENTS = 8


class Rate(Struct, frozen=True):
    """A rate in events: per second in the long run, and at once."""

    per_second: float
    burst: float


class RateLimitResult(Struct, frozen=True):
    """A rejected event: `retry_after` in seconds, `is_due` to notify the client now, `is_final` to close the socket."""

    retry_after: float
    is_due: bool
    is_final: bool


class Limiter:
    """Admits events at a rate. A rejected event costs half of an admitted one, up to one second's worth.

    So a client slightly above its rate loses some events, and one at twice its rate loses all until it pauses.
    """

    __slots__ = ("_interval", "_noticed_at", "_refused_since", "_slack", "_used_until")

    def __init__(self, rate: Rate) -> None:
        self._interval = 1.0 / rate.per_second
        self._slack = (rate.burst - 1.0) * self._interval
        self._used_until = 0.0
        self._refused_since: float | None = None
        self._noticed_at: float | None = None

    @property
    def used_until(self) -> float:
        """When the debt will be paid off, in monotonic seconds."""
        return self._used_until

    def admit(self, now: float) -> RateLimitResult | None:
        """Charge for one event at `now`, in monotonic seconds; return None if it passes."""
        ahead = self._used_until - now
        if ahead > self._slack:
            return self._refuse(now, ahead)
        self._used_until = (self._used_until if ahead > 0.0 else now) + self._interval
        self._refused_since = None
        return None

    def charge(self, now: float, events: float) -> bool:
        """Charge for this many events; return False if the burst does not cover them."""
        self._used_until = max(self._used_until, now) + events * self._interval
        return self._used_until - now <= self._slack

    def take_over(self, now: float, used_until: float) -> None:
        """Take over the debt of the user's last socket.

        If rejected events alone can explain the debt, still admits `FIRST_EVENTS`, so that the user can register again.
        """
        is_ordinary = used_until - now <= self._slack + PENALTY_SECONDS
        least = now + self._slack - FIRST_EVENTS * self._interval
        self._used_until = min(used_until, least) if is_ordinary else used_until

    def _refuse(self, now: float, ahead: float) -> RateLimitResult:
        """Return the rejection. Its wait is the longest possible, because events on their way will also cost."""
        penalised = min(ahead + PENALTY_SHARE * self._interval, self._slack + PENALTY_SECONDS)
        self._used_until = now + max(ahead, penalised)
        if self._refused_since is None:
            self._refused_since = now
        is_due = self._noticed_at is None or now - self._noticed_at >= NOTICE_SECONDS
        if is_due:
            self._noticed_at = now
        wait = max(PENALTY_SECONDS, ahead - self._slack) + MARGIN_SECONDS
        return RateLimitResult(wait, is_due, now - self._refused_since >= PATIENCE_SECONDS)
