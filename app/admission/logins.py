"""Limits how often a user may log in, because a new socket costs the server more than most events."""

from collections.abc import Callable

from app.admission.allowance import Allowance
from schemas.errors import ErrorCode, EventError, Limit, RetryAfter
from schemas.prices import LOGINS, LOGINS_PER_SECOND
from stores.model import User


class UserLogins:
    """See `handlers.ports.Logins`. Calls `on_limit` for each rejection, with the limit and the address."""

    def __init__(self, on_limit: Callable[[Limit, bytes], None], monotonic: Callable[[], float]) -> None:
        self._on_limit = on_limit
        self._allowance: Allowance[User] = Allowance(LOGINS, LOGINS_PER_SECOND, monotonic)

    def __len__(self) -> int:
        """Return the number of users in the table."""
        return len(self._allowance)

    def admit(self, user: User, address: bytes) -> None:
        """See `Logins`."""
        wait = self._allowance.wait(user)
        if wait:
            self._on_limit(Limit.LOGINS, address)
            retry = RetryAfter(retry_after_ms=int(wait * 1000) + 1)
            raise EventError(ErrorCode.RATE_LIMITED, "You log in too often; wait before you reconnect", retry)
        self._allowance.charge(user)

    def evict_expired(self) -> None:
        """Remove users whose limit has recovered."""
        self._allowance.evict_expired()
