"""How many HTTP requests an address may make (`HTTP_REQUESTS_PER_SECOND`), by the generic cell rate algorithm."""

from collections import OrderedDict
from collections.abc import Callable

from schemas.prices import HTTP_BURST_SECONDS

MAX_ADDRESSES = 10_000


class HttpBudget:
    """Charges requests to the addresses they come from; 0 a second means no limit.

    Each address has one number: when it will have paid off all it asked for. It may borrow what it earns in
    four seconds; a refused request costs nothing. Beyond `max_addresses` the one charged longest ago is forgotten.
    """

    def __init__(self, per_second: int, monotonic: Callable[[], float], max_addresses: int = MAX_ADDRESSES) -> None:
        self._interval = 1.0 / per_second if per_second else 0.0
        self._most = HTTP_BURST_SECONDS * per_second
        self._monotonic = monotonic
        self._max_addresses = max_addresses
        self._paid_off_at: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        """Return how many addresses are remembered."""
        return len(self._paid_off_at)

    def charge(self, address: bytes, price: float = 1.0) -> float:
        """Charge for one request; return 0 if it passes, else the seconds until it would.

        No price is beyond what can be saved up, so no request is refused for ever.
        """
        if not self._interval:
            return 0.0
        now = self._monotonic()
        paid_off_at = max(now, self._paid_off_at.get(address, now)) + min(price, self._most) * self._interval
        wait = paid_off_at - now - HTTP_BURST_SECONDS
        if wait > self._interval * 1e-6:  # a rounding error is no debt
            return wait
        self._paid_off_at[address] = paid_off_at
        self._paid_off_at.move_to_end(address)
        if len(self._paid_off_at) > self._max_addresses:
            self._paid_off_at.popitem(last=False)
        return 0.0

    def forget(self) -> None:
        """Forget addresses that owe nothing, beginning with the least recently charged."""
        now = self._monotonic()
        while self._paid_off_at and next(iter(self._paid_off_at.values())) <= now:
            self._paid_off_at.popitem(last=False)
