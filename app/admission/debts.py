"""The rate-limit debts of users whose sockets have closed, so that reconnecting does not reset the limit."""

from collections.abc import Callable

from stores.model import User

MAX_USERS = 10_000


class Debts:
    """When each user's debt will be paid off, in monotonic seconds. Users without debt are not stored.

    The table holds `max_users`; beyond that, the user with the smallest debt is evicted.
    """

    def __init__(self, monotonic: Callable[[], float], max_users: int = MAX_USERS) -> None:
        self._monotonic = monotonic
        self._max_users = max_users
        self._paid_at: dict[User, float] = {}

    def __len__(self) -> int:
        """Return the number of users in the table."""
        return len(self._paid_at)

    def note(self, user: User, paid_at: float) -> None:
        """Store the debt of a user whose socket closes."""
        if paid_at <= self._monotonic():
            return
        self._paid_at[user] = max(paid_at, self._paid_at.get(user, 0.0))
        if len(self._paid_at) > self._max_users:
            self.evict_expired()
        if len(self._paid_at) > self._max_users:
            del self._paid_at[min(self._paid_at, key=self._paid_at.__getitem__)]

    def take_over(self, user: User) -> float:
        """Return and remove a user's debt, which the new socket carries on."""
        return self._paid_at.pop(user, 0.0)

    def evict_expired(self) -> None:
        """Remove users whose debt is paid off."""
        now = self._monotonic()
        self._paid_at = {user: paid_at for user, paid_at in self._paid_at.items() if paid_at > now}
