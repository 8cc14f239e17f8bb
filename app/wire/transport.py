"""What a connection needs of the thing that carries its frames."""

from typing import Protocol

from app.wire.kernel import Progress


class Transport(Protocol):
    """One open WebSocket. Payloads are whole text messages in UTF-8."""

    def write(self, payloads: list[bytes]) -> None:
        """Hand the messages to the kernel as one write, in order; never waits."""

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake after what was written."""

    def backlog(self) -> int:
        """Return how many bytes were written but not yet taken by the kernel."""

    def pause(self) -> None:
        """Stop reading until `resume`."""

    def resume(self) -> None:
        """Read on."""

    def slow_down(self, seconds: float) -> None:
        """Delay reading by so long: the client sends more than it may."""

    def stop_reading(self) -> None:
        """Discard what still comes, unread."""

    def progress(self) -> Progress:
        """Return how much of what was written has arrived."""

    def ping(self) -> bool:
        """Ask the client for a sign of life; False if the transport looks after that by itself."""

    def abort(self) -> None:
        """Cut the connection without a handshake."""
