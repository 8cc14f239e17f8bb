"""Failed authentications by address, against guessing (docs/protocol.md section 7, AUTH_FAILURES_PER_MINUTE)."""

from collections import OrderedDict
from collections.abc import Callable

from app.wire.refusals import Refusals
from schemas.errors import Limit

MINUTE = 60.0
MAX_ADDRESSES = 10_000


class AuthFailures:
    """See `handlers.ports.Failures`. Of each address one number: when all its failures will be forgiven.

    One is forgiven every `60 / per_minute` seconds; 0 a minute means no limit. Of at most so many addresses this is
    remembered; past that, those are forgotten that did not fail for the longest time.
    """

    def __init__(
        self,
        per_minute: int,
        refusals: Refusals,
        monotonic: Callable[[], float],
        max_addresses: int = MAX_ADDRESSES,
    ) -> None:
        self._interval = MINUTE / per_minute if per_minute else 0.0
        self._refusals = refusals
        self._monotonic = monotonic
        self._max_addresses = max_addresses
        self.count = 0
        self._forgiven_at: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        """Return how many addresses are remembered."""
        return len(self._forgiven_at)

    def wait(self, address: bytes) -> float:
        """See `Failures`."""
        wait = self._forgiven_at.get(address, 0.0) + self._interval - MINUTE - self._monotonic()
        if wait <= 0:
            return 0.0
        self._refusals.note(Limit.AUTH_FAILURES, address)
        return wait

    def failed(self, address: bytes) -> None:
        """See `Failures`."""
        self.count += 1
        if not self._interval:
            return
        now = self._monotonic()
        forgiven_at = max(self._forgiven_at.get(address, now), now) + self._interval
        self._forgiven_at[address] = min(forgiven_at, now + MINUTE)
        self._forgiven_at.move_to_end(address)
        if len(self._forgiven_at) > self._max_addresses:
            self._forgiven_at.popitem(last=False)

    def forget(self) -> None:
        """Forget addresses that are forgiven, beginning with those that did not fail for the longest time."""
        now = self._monotonic()
        while self._forgiven_at and next(iter(self._forgiven_at.values())) <= now:
            self._forgiven_at.popitem(last=False)
