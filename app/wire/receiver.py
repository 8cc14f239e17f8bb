"""The protocols that a transport requires of the connection whose frames it carries."""

from collections.abc import Callable
from typing import Protocol

from app.wire.transport import Transport
from schemas.errors import CloseCode

MAX_BYTES_BEFORE_AUTH = 65_536


class WriteBuffer(Protocol):
    """Buffers events that will be written to one transport."""

    @property
    def is_congested(self) -> bool:
        """Whether writes are held back because the client does not keep up."""

    def congest(self) -> None:
        """Hold back writes: the client does not keep up."""

    def relieve(self) -> None:
        """Resume writes: the client has caught up."""

    def flush(self) -> None:
        """Write everything buffered, now."""


class Receiver(Protocol):
    """One client's connection. The transport sets `was_heard` whenever it receives bytes."""

    was_heard: bool

    @property
    def outbox(self) -> WriteBuffer:
        """The write buffer for this client."""

    @property
    def max_bytes(self) -> int:
        """The current maximum size of a message."""

    @property
    def bytes_per_second(self) -> int:
        """The rate at which the client may send in the long run."""

    @property
    def is_stranger(self) -> bool:
        """Whether the client is unauthenticated."""

    def receive(self, frame: bytes) -> None:
        """Handle a text message of valid UTF-8."""

    def receive_binary(self, frame: bytes) -> None:
        """Handle a binary message like a text message with the same bytes."""

    def charge_frames(self, count: int) -> None:
        """Charge for frames that carry no event."""

    def ponged(self) -> None:
        """Handle a pong."""

    def too_large(self) -> None:
        """Close because a message is too large."""

    def violated(self, code: CloseCode, reason: str) -> None:
        """Close because the client violated the WebSocket protocol."""

    def closed(self, code: int) -> None:
        """Handle a close by the client with this code, or a lost connection (1006)."""

    def close(self, code: CloseCode, reason: str) -> None:
        """Close with this code and reason."""


OpenConnection = Callable[[Transport, bytes], Receiver]
"""Returns the receiver for a new connection; the bytes are the salted hash of the client's address."""
