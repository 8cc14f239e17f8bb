"""The real clock and random identifiers."""

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct, field

from handlers.ports import Clock, Ids


class SystemClock:
    """See `handlers.ports.Clock`. Caches the formatted time for a millisecond, because every message carries it.

    Shows this machine's time until `follow` is called.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._base: Callable[[], float] = time.time
        self._valid_from = 0.0
        self._valid_until = 0.0
        self._timestamp = ""

    def follow(self, ahead: float) -> None:
        """Use the clock that all nodes share, which is `ahead` seconds ahead of this machine's monotonic clock.

        From now on, ignores this machine's time of day, which may be wrong or change at any moment.
        """
        self._ahead, self._base = ahead, time.monotonic

    def now(self) -> float:
        """Return seconds since 1970."""
        return self._base() + self._ahead

    def timestamp(self) -> str:
        """Return the time as ISO 8601 in UTC, in milliseconds."""
        now = self._base() + self._ahead
        if not self._valid_from <= now < self._valid_until:
            millisecond = int(now * 1000)
            self._valid_from, self._valid_until = millisecond / 1000, (millisecond + 1) / 1000
            self._timestamp = iso(now)
        return self._timestamp

    def timestamp_of(self, moment: float) -> str:
        """Return a moment, in seconds since 1970, in the same form."""
        return iso(moment)


def random_id(prefix: str) -> str:
    """Return the prefix and 128 random bits."""
    return prefix + secrets.token_urlsafe(16)


class Sources(Struct, frozen=True):
    """The sources of an application's time and identifiers; `monotonic` returns seconds."""

    clock: Clock = field(default_factory=SystemClock)
    monotonic: Callable[[], float] = time.monotonic
    ids: Ids = random_id


def iso(seconds: float) -> str:
    """Return a time, in seconds since 1970, as ISO 8601 in UTC, in milliseconds."""
    whole, millisecond = divmod(int(seconds * 1000), 1000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{millisecond:03}Z"
