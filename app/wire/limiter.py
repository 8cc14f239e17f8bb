"""Rate limiting of one socket: a token bucket (protocol.md section 4, ERR_5004)."""

from msgspec import Struct

NOTICE_SECONDS = 1.0
PATIENCE_SECONDS = 10.0


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
    """Lets events pass at a rate. A refused one costs too, up to a second's worth: only who pauses is heard again."""

    __slots__ = ("_noticed_at", "_rate", "_refused_since", "_tokens", "_updated_at")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._tokens = rate.burst
        self._updated_at = now
        self._refused_since: float | None = None
        self._noticed_at: float | None = None

    def admit(self, now: float) -> Verdict | None:
        """Count one event at `now`, monotonic seconds; None if it passes."""
        rate = self._rate
        tokens = self._tokens + (now - self._updated_at) * rate.per_second
        self._updated_at = now
        if tokens >= 1.0:
            self._tokens = min(tokens, rate.burst) - 1.0
            self._refused_since = None
            return None
        self._tokens = max(tokens - 1.0, -rate.per_second)
        return self._refuse(now)

    def _refuse(self, now: float) -> Verdict:
        """Return the refusal. More events may be on their way and cost too, so the wait is the longest."""
        if self._refused_since is None:
            self._refused_since = now
        is_due = self._noticed_at is None or now - self._noticed_at >= NOTICE_SECONDS
        if is_due:
            self._noticed_at = now
        return Verdict(1.0 + 1.0 / self._rate.per_second, is_due, now - self._refused_since >= PATIENCE_SECONDS)
