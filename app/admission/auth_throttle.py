"""Throttles failed authentications per address (docs/protocol.md section 7, AUTH_FAILURES_PER_MINUTE)."""

from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from app.admission.rejections import RejectionLog
from schemas.errors import ErrorCode, EventError, Limit, RetryAfter
from schemas.prices import STRANGER_SOCKETS, STRANGER_SOCKETS_PER_SECOND

MINUTE = 60.0
MAX_ADDRESSES = 10_000
VERIFICATIONS = STRANGER_SOCKETS
VERIFICATIONS_PER_SECOND = 2 * STRANGER_SOCKETS_PER_SECOND
_VERIFICATION_SECONDS = 1.0 / VERIFICATIONS_PER_SECOND
_VERIFICATION_SLACK = (VERIFICATIONS - 0.5) * _VERIFICATION_SECONDS


class _Record(Struct):
    """When all failures of an address have expired, and until when its verifications are used up."""

    expires_at: float
    used_until: float = 0.0


class AuthThrottle:
    """See `handlers.ports.AuthThrottle`.

    One failure expires every `60 / per_minute` seconds; 0 per minute means no limit. An address that has used up its
    failures is throttled: its failures are answered with `ERR_5004`, and only `VERIFICATIONS` of its tokens at once and
    `VERIFICATIONS_PER_SECOND` in the long run are verified. New sockets from an address whose sockets fail are accepted
    more slowly (`STRANGER_SOCKETS`). So a valid token gets through while another client at its address fails.

    The table holds `max_addresses`; beyond that, the address whose last failure is oldest is evicted. This does not
    help an attacker to guess faster: an address is evicted only after failures from that many others.
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
        """Return the number of addresses in the table."""
        return len(self._records)

    def wait(self, address: bytes) -> float:
        """Return how many seconds an address remains throttled; 0 if it is not."""
        record = self._records.get(address)
        if record is None:
            return 0.0
        return max(0.0, record.expires_at + self._interval - MINUTE - self._monotonic())

    def look(self, address: bytes) -> None:
        """See `handlers.ports.AuthThrottle`."""
        if not self.wait(address):
            return
        record, now = self._records[address], self._monotonic()
        ahead = max(0.0, record.used_until - now)
        if ahead > _VERIFICATION_SLACK:
            raise self._throttled(address, ahead - _VERIFICATION_SLACK)
        record.used_until = now + ahead + _VERIFICATION_SECONDS

    def failed(self, address: bytes, refusal: EventError) -> EventError:
        """See `handlers.ports.AuthThrottle`."""
        if refusal.code in {ErrorCode.TOKEN_MISSING, ErrorCode.RATE_LIMITED}:
            return refusal
        self.count += 1
        if not self._interval:
            return refusal
        wait = self.wait(address)
        self._add_failure(address)
        return self._throttled(address, wait) if wait else refusal

    def evict_expired(self) -> None:
        """Remove addresses whose failures have expired, starting with the oldest last failure."""
        now = self._monotonic()
        while self._records and next(iter(self._records.values())).expires_at <= now:
            self._records.popitem(last=False)

    def _add_failure(self, address: bytes) -> None:
        now = self._monotonic()
        record = self._records.setdefault(address, _Record(now))
        record.expires_at = min(max(record.expires_at, now) + self._interval, now + MINUTE)
        self._records.move_to_end(address)
        if len(self._records) > self._max_addresses:
            self._records.popitem(last=False)

    def _throttled(self, address: bytes, wait: float) -> EventError:
        self._rejections.note(Limit.AUTH_FAILURES, address)
        message = "Too many failed authentications from your address; wait before you try again"
        return EventError(ErrorCode.RATE_LIMITED, message, RetryAfter(retry_after_ms=int(wait * 1000) + 1))
