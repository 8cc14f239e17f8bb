"""Time and randomness, the real ones."""

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct, field

from handlers.ports import Clock, Ids


class SystemClock:
    """See `handlers.ports.Clock`. Formatting is done once a millisecond, since every message carries the time.

    It is this machine's, until it follows another one.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._machine: Callable[[], float] = time.time
        self._good_from = 0.0
        self._good_until = 0.0
        self._timestamp = ""

    def follow(self, ahead: float) -> None:
        """Go by the clock of several nodes, by so many seconds ahead of this machine's monotonic one.

        The time of day here may be wrong, or be set at any moment, and is not asked any more.
        """
        self._ahead, self._machine = ahead, time.monotonic

    def now(self) -> float:
        """Return seconds since 1970."""
        return self._machine() + self._ahead

    def timestamp(self) -> str:
        """Return the time as ISO 8601 in UTC, in milliseconds."""
        now = self._machine() + self._ahead
        if not self._good_from <= now < self._good_until:
            millisecond = int(now * 1000)
            self._good_from, self._good_until = millisecond / 1000, (millisecond + 1) / 1000
            self._timestamp = iso(now)
        return self._timestamp

    def timestamp_of(self, moment: float) -> str:
        """Return this moment in the same form."""
        return iso(moment)


def random_id(prefix: str) -> str:
    """Return the prefix and 128 random bits."""
    return prefix + secrets.token_urlsafe(16)


class Sources(Struct, frozen=True):
    """Where an application has its time and its identifiers from; `monotonic` returns seconds."""

    clock: Clock = field(default_factory=SystemClock)
    monotonic: Callable[[], float] = time.monotonic
    ids: Ids = random_id


def iso(seconds: float) -> str:
    """Return a time, in seconds since 1970, as ISO 8601 in UTC, in milliseconds."""
    whole, millisecond = divmod(int(seconds * 1000), 1000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{millisecond:03}Z"
