"""What was refused by which limit: counted always, logged once a second a limit."""

from collections.abc import Callable

from app.admission.addresses import logged
from app.logger import Logger
from schemas.errors import Limit

LOG_SECONDS = 1.0


class RejectionLog:
    """Counts rejections; a log line has how many of its kind went without one since the last."""

    def __init__(self, log: Logger, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._monotonic = monotonic
        self._quiet_until: dict[Limit, float] = {}
        self._suppressed = dict.fromkeys(Limit, 0)
        self.counts = dict.fromkeys(Limit, 0)

    def note(self, limit: Limit, address: bytes) -> None:
        """Count a refusal of somebody at this address, a salted hash."""
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
