"""Access tokens: where they come from, and when it is time for the next."""

import base64
import inspect
import json
from collections.abc import Awaitable, Callable

TokenSource = str | Callable[[], str | Awaitable[str]]
"""A token, or a function that returns one, or that returns an awaitable of one."""

RENEW_SECONDS = 90.0
RETRY_SECONDS = 10.0


class Tokens:
    """One user's access tokens. The source is asked for the first, and again when the last will not do any longer.

    That is `RENEW_SECONDS` before a token expires, or in the last quarter of a short life; `now` is the time of day.
    """

    def __init__(self, source: TokenSource, now: Callable[[], float]) -> None:
        self._source = source
        self._now = now
        self._token: str | None = None
        self._refused: str | None = None
        self._refusals = 0
        self._renew_at: float | None = None

    async def get(self) -> str | None:
        """Return a token that is good as far as can be told; None if there is none that was not refused."""
        if self._token is None or self.seconds_left() == 0:
            self._take(await self._ask())
        return None if self._token == self._refused or self._is_hopeless() else self._token

    async def renew(self) -> str | None:
        """Return a new token; None if the source still has the same. It is due again before long if this fails."""
        self._renew_at = self._now() + RETRY_SECONDS
        token = await self._ask()
        if token == self._token:
            return None
        self._take(token)
        return token

    def seconds_left(self) -> float | None:
        """Return how long the token will do; None if that cannot be told, since it is no JWT or the clock is wrong."""
        return None if self._renew_at is None else max(0.0, self._renew_at - self._now())

    def expired(self) -> None:
        """Have the source asked before the next connection."""
        self._token = None

    def refused(self) -> bool:
        """Take note that the token was refused; returns whether another may be tried, one after each success."""
        self._refused, self._token = self._token, None
        self._refusals += 1
        return not self._is_hopeless() and not isinstance(self._source, str)

    def accepted(self) -> None:
        """Take note that the token is good."""
        self._refused, self._refusals = None, 0

    def _is_hopeless(self) -> bool:
        return self._refusals > 1

    def _take(self, token: str) -> None:
        self._token = token
        expires_at, now = expiry(token), self._now()
        lifetime = 0.0 if expires_at is None else expires_at - now
        self._renew_at = now + lifetime - min(RENEW_SECONDS, lifetime / 4) if lifetime > 0 else None

    async def _ask(self) -> str:
        if isinstance(self._source, str):
            return self._source
        token = self._source()
        return await token if inspect.isawaitable(token) else token


def expiry(token: str) -> float | None:
    """Return when a JWT expires, in seconds since 1970; None if it does not say so, or is none."""
    try:
        payload = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (LookupError, ValueError, TypeError):
        return None
