"""The HTTP request rate per address (`HTTP_REQUESTS_PER_SECOND`), by the generic cell rate algorithm."""

from collections import OrderedDict
from collections.abc import Callable

from schemas.prices import HTTP_BURST_SECONDS

MAX_ADDRESSES = 10_000


class HttpBudget:
    """Charges requests to client addresses; 0 per second means no limit.

    The state of an address is one number: when its debt will be paid off. The debt may grow to what the address earns
    in `HTTP_BURST_SECONDS`. A rejected request costs nothing. The table holds `max_addresses`; beyond that, the least
    recently charged address is evicted.
    """

    def __init__(self, per_second: int, monotonic: Callable[[], float], max_addresses: int = MAX_ADDRESSES) -> None:
        self._interval = 1.0 / per_second if per_second else 0.0
        self._most = HTTP_BURST_SECONDS * per_second
        self._monotonic = monotonic
        self._max_addresses = max_addresses
        self._paid_off_at: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of addresses in the table."""
        return len(self._paid_off_at)

    def charge(self, address: bytes, price: float = 1.0) -> float:
        """Charge for one request; return 0 if it is admitted, else the seconds until it would be.

        A price is capped at the burst, so no request is rejected forever.
        """
        if not self._interval:
            return 0.0
        now = self._monotonic()
        paid_off_at = max(now, self._paid_off_at.get(address, now)) + min(price, self._most) * self._interval
        wait = paid_off_at - now - HTTP_BURST_SECONDS
        if wait > self._interval * 1e-6:  # ignores rounding errors
            return wait
        self._paid_off_at[address] = paid_off_at
        self._paid_off_at.move_to_end(address)
        if len(self._paid_off_at) > self._max_addresses:
            self._paid_off_at.popitem(last=False)
        return 0.0

    def evict_expired(self) -> None:
        """Remove addresses without debt, starting with the least recently charged."""
        now = self._monotonic()
        while self._paid_off_at and next(iter(self._paid_off_at.values())) <= now:
            self._paid_off_at.popitem(last=False)
