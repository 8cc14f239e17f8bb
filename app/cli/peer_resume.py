"""What a peer in a terminal keeps so that nothing is lost when its connection is (docs/resume.md). No I/O here."""

from collections.abc import Callable

from app.cli.peer_commands import frame
from schemas.auth import AuthSuccess
from schemas.capabilities import CAPABILITIES

HANDLED_AT_ONCE = 100
CATCH_UP, HANDLED, RENEW = "catch-up", "handled", "renew"
OUR_REFS = frozenset({HANDLED, RENEW})


class Resumption:
    """The token to resume with, the last event handled, and what that makes of a reconnect."""

    def __init__(self, client: dict[str, str], monotonic: Callable[[], float]) -> None:
        self._client = client
        self._monotonic = monotonic
        self._token: str | None = None
        self._offset = 0
        self._reported = 0
        self._lost_at: float | None = None
        self._caught_up = 0

    def hello(self, access_token: str) -> str:
        """Return the AUTH that a socket begins with."""
        resume = {"token": self._token, "offset": self._offset} if self._token else None
        return frame("AUTH", token=access_token, capabilities=CAPABILITIES, client=self._client, resume=resume)

    def lost(self) -> None:
        """Take note that the connection was lost."""
        if self._lost_at is None:
            self._lost_at = self._monotonic()

    def entered(self, success: AuthSuccess) -> str | None:
        """Go on, or start over, as the server says; returns what to tell if it is a return that starts over."""
        had_token, self._token = self._token, success.resume.token if success.resume else None
        self._caught_up = 0
        if success.recovered:
            return None
        self._offset = self._reported = 0
        if had_token is None:
            self._lost_at = None
            return None
        return f"back after {self._away()}, but starting over: the server no longer had what was sent meanwhile"

    def takes(self, offset: int | None) -> bool:
        """Whether a frame is new to us; one with a number is, if that is beyond the last."""
        if offset is None:
            return True
        if offset <= self._offset:
            return False
        self._offset = offset
        self._caught_up += 1
        return True

    def report(self) -> str | None:
        """Return what tells the server which events it can let go of, once there are many."""
        if self._offset - self._reported < HANDLED_AT_ONCE:
            return None
        return self.ping(HANDLED)

    def ping(self, ref: str) -> str:
        """Return a PING with the last offset, whose answer has this `ref`."""
        self._reported = self._offset
        return frame("PING", ref=ref, offset=self._offset)

    def caught_up(self) -> str:
        """Return what to tell once all that was kept has come."""
        events = "1 event" if self._caught_up == 1 else f"{self._caught_up or 'no'} events"
        return f"back after {self._away()}: nothing was lost, {events} caught up"

    def _away(self) -> str:
        lost_at, self._lost_at = self._lost_at, None
        return "a moment" if lost_at is None else f"{self._monotonic() - lost_at:.1f} s"
