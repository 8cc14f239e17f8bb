"""How long a peer in a terminal was away, and what it missed meanwhile. No I/O here."""

from collections.abc import Callable

from peersync.events import AuthSuccessData


class Absence:
    """From the loss of a connection until all is told that was kept; `monotonic` is in seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lost_at: float | None = None
        self._is_kept = False
        self._caught_up: int | None = None

    def began(self) -> None:
        """Take note that the connection was lost."""
        if self._lost_at is None:
            self._lost_at = self._monotonic()

    def returned(self, success: AuthSuccessData) -> str:
        """Take note of a new connection; returns what to tell if it starts over although something was kept."""
        was_kept, self._is_kept = self._is_kept, "resume" in success
        self._caught_up = 0 if success.get("recovered") else None
        if success.get("recovered") or not was_kept:
            return ""
        return f"reconnected after {self._away()}, but the server no longer had what you missed; starting over"

    def missed(self, offset: int | None) -> None:
        """Take note of an event, which was kept if it has a number."""
        if offset is not None and self._caught_up is not None:
            self._caught_up += 1

    def ended(self) -> str:
        """Take note that all that was kept has come; returns what to tell, if that is news."""
        count, self._caught_up = self._caught_up, None
        if count is None:
            return ""
        if not count:
            return f"reconnected after {self._away()}: you missed nothing"
        return f"reconnected after {self._away()}: you missed {count} event{'s' if count > 1 else ''}, received now"

    def _away(self) -> str:
        lost_at, self._lost_at = self._lost_at, None
        return "a moment" if lost_at is None else f"{self._monotonic() - lost_at:.1f} s"
