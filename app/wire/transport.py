"""The protocol that a connection requires of the transport that carries its frames."""

from typing import Protocol

from app.wire.kernel import Progress


class Transport(Protocol):
    """One open WebSocket. Payloads are whole text messages in UTF-8."""

    def write(self, payloads: list[bytes]) -> None:
        """Pass the messages to the kernel in order, as one write; never waits."""

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake, after everything that was written."""

    def backlog(self) -> int:
        """Return how many written bytes the kernel has not accepted yet."""

    def pause(self) -> None:
        """Stop reading until `resume`."""

    def resume(self) -> None:
        """Resume reading."""

    def slow_down(self, seconds: float) -> None:
        """Delay reading by this long: the client exceeds its rate limit."""

    def stop_reading(self) -> None:
        """Discard all further input."""

    def progress(self) -> Progress:
        """Return how much of the written data the client has acknowledged."""

    def ping(self) -> bool:
        """Send a ping and return True; return False if the server sends pings itself."""

    def abort(self) -> None:
        """Abort the connection without a closing handshake."""
