"""What all peers of a soak share: the dice, the clock, who else is there, and what is counted. No input or output."""

import random
from collections import Counter
from collections.abc import Callable
from itertools import count

import anyio
from msgspec import Struct

from app.settings import Settings
from schemas.errors import ErrorCode
from tests.load.soak.checks import Faults, Inbox

ORGS = (None, None, "soak-a", "soak-b")
PATIENCE = 20.0

_GONE = {ErrorCode.SESSION_NOT_FOUND, ErrorCode.NOT_A_PARTICIPANT}
_NOT_HOST = _GONE | {ErrorCode.NOT_ALLOWED}
_NO_TARGET = {ErrorCode.PEER_NOT_FOUND, ErrorCode.TARGET_OFFLINE, ErrorCode.RATE_LIMITED}
EXPECTED: dict[str, set[ErrorCode]] = {
    "CONNECTION_REQUEST": _NO_TARGET | {ErrorCode.SESSION_FULL},
    "CONNECTION_RESPONSE": {ErrorCode.REQUEST_NOT_FOUND, ErrorCode.SESSION_FULL},
    "CONNECTION_CANCEL": {ErrorCode.REQUEST_NOT_FOUND},
    "SEND_MESSAGE": _NOT_HOST,
    "SESSION_INVITE": _NOT_HOST | _NO_TARGET | {ErrorCode.INVALID_DATA},
    "SESSION_LEAVE": _GONE,
    "SESSION_KICK": _NOT_HOST,
    "SESSION_ROLE": _NOT_HOST,
    "SESSION_HANDOVER": _NOT_HOST,
    "SESSION_END": _NOT_HOST,
}
"""RejectionLog that come of others acting at the same time; any other is a fault."""


class Plan(Struct, frozen=True):
    """What to do: so many `peers`, each of which acts about every `pause` seconds, for `minutes` or `acts` in all."""

    peers: int
    minutes: float
    pause: float
    seed: int
    acts: int | None = None


class World:
    """One soak."""

    def __init__(
        self, plan: Plan, settings: Settings, url: str, monotonic: Callable[[], float], faults: Faults
    ) -> None:
        self.plan = plan
        self.monotonic = monotonic
        self.resume_grace = settings.resume_grace_seconds
        self.longest_grace = max(settings.session_grace_seconds, settings.resume_grace_seconds)
        self.url = url
        self.random = random.Random(plan.seed)
        self.faults = faults
        self.tally: Counter[str] = Counter()
        self.inboxes: dict[str, Inbox] = {}
        self.tick = count(1).__next__
        self._is_ending = anyio.Event()

    @property
    def is_ending(self) -> bool:
        """Whether no more is to be done."""
        return self._is_ending.is_set()

    def end(self) -> None:
        """Have all peers come to rest."""
        self._is_ending.set()

    async def wait(self, seconds: float) -> None:
        """Return after this time, or once the soak is ending."""
        with anyio.move_on_after(seconds):
            await self._is_ending.wait()

    def act(self) -> None:
        """Count what a peer does; the last act ends the soak."""
        self.tally["acts"] += 1
        if self.tally["acts"] == self.plan.acts:
            self.end()

    def add(self, user: str) -> Inbox:
        """Take in a user."""
        inbox = self.inboxes[user] = Inbox(user, self.faults, self.tick)
        return inbox

    def acquaintance(self, user: str) -> str:
        """Return somebody of the user's org, there or not; or if it is alone, itself."""
        return self.random.choice([other for other in self.inboxes if org_of(other) == org_of(user)])


def user_id(number: int) -> str:
    """Return the id of a user, which tells its org."""
    return f"{ORGS[number % len(ORGS)] or 'soak'}:{number}"


def org_of(user: str) -> str | None:
    """Return the org of a user."""
    org = user.partition(":")[0]
    return None if org == "soak" else org
