"""What users still owe when their socket closes, so that reconnecting does not pay for anything."""

from collections.abc import Callable

from stores.model import User

MAX_USERS = 10_000


class Debts:
    """When each user will have paid for what it sent, in monotonic seconds. Users who owe nothing are not remembered.

    `max_users` bounds the table: past it, the user who owes least is forgotten.
    """

    def __init__(self, monotonic: Callable[[], float], max_users: int = MAX_USERS) -> None:
        self._monotonic = monotonic
        self._max_users = max_users
        self._paid_at: dict[User, float] = {}

    def __len__(self) -> int:
        """Return how many users are remembered."""
        return len(self._paid_at)

    def note(self, user: User, paid_at: float) -> None:
        """Remember the debt of a user whose socket closes."""
        if paid_at <= self._monotonic():
            return
        self._paid_at[user] = max(paid_at, self._paid_at.get(user, 0.0))
        if len(self._paid_at) > self._max_users:
            self.forget()
        if len(self._paid_at) > self._max_users:
            del self._paid_at[min(self._paid_at, key=self._paid_at.__getitem__)]

    def take_over(self, user: User) -> float:
        """Return and forget the debt of a user: the new socket carries it."""
        return self._paid_at.pop(user, 0.0)

    def forget(self) -> None:
        """Forget those who owe nothing any more."""
        now = self._monotonic()
        self._paid_at = {user: paid_at for user, paid_at in self._paid_at.items() if paid_at > now}
