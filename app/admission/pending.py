"""Those who have not shown yet what they want: bounded in time, and in number so that no address crowds out others."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Guest = TypeVar("Guest", bound=Hashable)


class WaitingRoom(Generic[Guest]):
    """Guests in the order of entering, each from an address; `seconds` is how long one may wait.

    Past `limit` somebody has to go, but nobody before `grace` seconds.
    """

    def __init__(self, limit: int, seconds: float, grace: float = 0.0) -> None:
        self._limit = limit
        self._seconds = seconds
        self._grace = grace
        self._guests: dict[Guest, tuple[float, bytes]] = {}
        self._by_address: dict[bytes, dict[Guest, None]] = {}

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._guests)

    def enter(self, guest: Guest, address: bytes, now: float) -> None:
        """Begin to wait, or begin anew."""
        self.leave(guest)
        self._guests[guest] = now, address
        self._by_address.setdefault(address, {})[guest] = None

    def one_too_many(self, now: float) -> Guest | None:
        """Return who has to go: the oldest guest of the address that has most, so that strangers cannot lock the door.

        None if nobody has to.
        """
        if len(self._guests) <= self._limit:
            return None
        crowd: dict[Guest, None] = max(self._by_address.values(), key=len)
        oldest = next(iter(crowd))
        return oldest if now - self._guests[oldest][0] >= self._grace else None

    def leave(self, guest: Guest) -> None:
        """Wait no more; who does not wait is not missed."""
        entered = self._guests.pop(guest, None)
        if entered is None:
            return
        crowd = self._by_address[entered[1]]
        del crowd[guest]
        if not crowd:
            del self._by_address[entered[1]]

    def overdue(self, now: float) -> list[Guest]:
        """Return those who have waited for too long."""
        late: list[Guest] = []
        for guest, (entered_at, _) in self._guests.items():
            if now - entered_at < self._seconds:
                break
            late.append(guest)
        return late
