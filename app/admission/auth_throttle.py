"""Failed authentications by address, against guessing (docs/protocol.md section 7, AUTH_FAILURES_PER_MINUTE)."""

from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from app.admission.rejections import RejectionLog
from schemas.errors import ErrorCode, EventError, Limit, RetryAfter
from schemas.prices import STRANGER_SOCKETS, STRANGER_SOCKETS_PER_SECOND

MINUTE = 60.0
MAX_ADDRESSES = 10_000
LOOKS = STRANGER_SOCKETS
LOOKS_PER_SECOND = 2 * STRANGER_SOCKETS_PER_SECOND
_LOOK_SECONDS = 1.0 / LOOKS_PER_SECOND
_LOOK_SLACK = (LOOKS - 0.5) * _LOOK_SECONDS


class _Record(Struct):
    """When all failures of an address are forgiven, and until when its verifications are used up."""

    forgiven_at: float
    looks_until: float = 0.0


class AuthThrottle:
    """See `handlers.ports.AuthThrottle`.

    One failure is forgiven every `60 / per_minute` seconds; 0 a minute means no limit. An address that has used up its
    failures is throttled: its failures are answered with `ERR_5004`, and only `LOOKS` of its tokens at once and
    `LOOKS_PER_SECOND` in the long run are verified. Sockets that fail one after the other are let in more slowly than
    that (`STRANGER_SOCKETS`). So a good token gets in even while somebody else at its address fails.

    Failures of at most `max_addresses` addresses are remembered; the address whose last failure is oldest goes first.
    That lets nobody guess faster: an address is forgotten only after failures from that many others.
    """

    def __init__(
        self,
        per_minute: int,
        rejections: RejectionLog,
        monotonic: Callable[[], float],
        max_addresses: int = MAX_ADDRESSES,
    ) -> None:
        self._interval = MINUTE / per_minute if per_minute else 0.0
        self._rejections = rejections
        self._monotonic = monotonic
        self._max_addresses = max_addresses
        self.count = 0
        self._records: OrderedDict[bytes, _Record] = OrderedDict()

    def __len__(self) -> int:
        """Return how many addresses are remembered."""
        return len(self._records)

    def wait(self, address: bytes) -> float:
        """Return for how many seconds an address is throttled; 0 if it is not."""
        record = self._records.get(address)
        if record is None:
            return 0.0
        return max(0.0, record.forgiven_at + self._interval - MINUTE - self._monotonic())

    def look(self, address: bytes) -> None:
        """See `handlers.ports.AuthThrottle`."""
        if not self.wait(address):
            return
        record, now = self._records[address], self._monotonic()
        ahead = max(0.0, record.looks_until - now)
        if ahead > _LOOK_SLACK:
            raise self._throttled(address, ahead - _LOOK_SLACK)
        record.looks_until = now + ahead + _LOOK_SECONDS

    def failed(self, address: bytes, refusal: EventError) -> EventError:
        """See `handlers.ports.AuthThrottle`."""
        if refusal.code in {ErrorCode.TOKEN_MISSING, ErrorCode.RATE_LIMITED}:
            return refusal
        self.count += 1
        if not self._interval:
            return refusal
        wait = self.wait(address)
        self._remember(address)
        return self._throttled(address, wait) if wait else refusal

    def forget(self) -> None:
        """Forget addresses that are forgiven, beginning with those that did not fail for the longest time."""
        now = self._monotonic()
        while self._records and next(iter(self._records.values())).forgiven_at <= now:
            self._records.popitem(last=False)

    def _remember(self, address: bytes) -> None:
        now = self._monotonic()
        record = self._records.setdefault(address, _Record(now))
        record.forgiven_at = min(max(record.forgiven_at, now) + self._interval, now + MINUTE)
        self._records.move_to_end(address)
        if len(self._records) > self._max_addresses:
            self._records.popitem(last=False)

    def _throttled(self, address: bytes, wait: float) -> EventError:
        self._rejections.note(Limit.AUTH_FAILURES, address)
        message = "Too many authentications from your address failed; wait before you try again"
        return EventError(ErrorCode.RATE_LIMITED, message, RetryAfter(retry_after_ms=int(wait * 1000) + 1))
