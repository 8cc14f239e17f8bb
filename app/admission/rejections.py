"""Rejections by limit: counts all of them, and logs one per limit and second."""

from collections.abc import Callable

from app.admission.addresses import logged
from app.logger import Logger
from schemas.errors import Limit

LOG_SECONDS = 1.0


class RejectionLog:
    """Counts and logs rejections. A log line says how many others of its limit were suppressed since the last one."""

    def __init__(self, log: Logger, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._monotonic = monotonic
        self._quiet_until: dict[Limit, float] = {}
        self._suppressed = dict.fromkeys(Limit, 0)
        self.counts = dict.fromkeys(Limit, 0)

    def note(self, limit: Limit, address: bytes) -> None:
        """Record a rejection by this limit; `address` is a salted hash."""
        self.counts[limit] += 1
        now = self._monotonic()
        if now < self._quiet_until.get(limit, now):
            self._suppressed[limit] += 1
            return
        self._quiet_until[limit] = now + LOG_SECONDS
        self._log.warning(
            "limit reached", limit=limit.value, address=logged(address), suppressed=self._suppressed[limit]
        )
        self._suppressed[limit] = 0
