"""What is kept so that no event is lost or handed over twice when the connection is."""

from peersync.events import AuthSuccessData

HANDLED_AT_ONCE = 100


class Resumption:
    """The token to resume with, and the number of the last event."""

    def __init__(self) -> None:
        self._token: str | None = None
        self._offset = 0
        self._reported = 0

    def claim(self) -> dict[str, object] | None:
        """Return what AUTH says to resume; None if there is nothing to."""
        return {"token": self._token, "offset": self._offset} if self._token else None

    def entered(self, success: AuthSuccessData) -> bool:
        """Take note of what the server granted; returns whether it goes on where the last connection was lost."""
        self._token = success["resume"]["token"] if "resume" in success else None
        is_recovered = success.get("recovered", False)
        if not is_recovered:
            self._offset = self._reported = 0
        return is_recovered

    def takes(self, offset: int | None) -> bool:
        """Whether a frame is new; one with a number is, if that is beyond the last."""
        if offset is None:
            return True
        if offset <= self._offset:
            return False
        self._offset = offset
        return True

    def is_report_due(self) -> bool:
        """Whether the server could let go of many events."""
        return self._offset - self._reported >= HANDLED_AT_ONCE

    def report(self) -> dict[str, object]:
        """Return what PING says of the events that the server can let go of."""
        self._reported = self._offset
        return {"offset": self._offset}
