"""Time and randomness, the real ones."""

import secrets
import time
from datetime import UTC, datetime


class SystemClock:
    """See `handlers.ports.Clock`. Formatting is done once a millisecond, since every message carries the time."""

    def __init__(self) -> None:
        self._millisecond = -1
        self._timestamp = ""

    def now(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def timestamp(self) -> str:
        """Return the time as ISO 8601 in UTC, in milliseconds."""
        millisecond = time.time_ns() // 1_000_000
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            moment = datetime.fromtimestamp(millisecond // 1000, UTC)
            self._timestamp = f"{moment:%Y-%m-%dT%H:%M:%S}.{millisecond % 1000:03}Z"
        return self._timestamp


def random_id(prefix: str) -> str:
    """Return the prefix and 128 random bits."""
    return prefix + secrets.token_urlsafe(16)
