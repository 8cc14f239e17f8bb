"""What a transport needs of the connection whose frames it carries."""

from collections.abc import Callable
from typing import Protocol

from app.wire.transport import Transport
from schemas.errors import CloseCode

MAX_BYTES_BEFORE_AUTH = 65_536


class WriteBuffer(Protocol):
    """What waits to be written to one transport."""

    @property
    def is_congested(self) -> bool:
        """Whether the client does not keep up, so that everything waits."""

    def congest(self) -> None:
        """Hold everything back: the client does not keep up."""

    def relieve(self) -> None:
        """Write on: the client has caught up."""

    def flush(self) -> None:
        """Write what waits now."""


class Receiver(Protocol):
    """One client's connection. The transport sets `was_heard` whenever bytes come."""

    was_heard: bool

    @property
    def outbox(self) -> WriteBuffer:
        """What waits for this client."""

    @property
    def max_bytes(self) -> int:
        """How many bytes a message may have now."""

    @property
    def bytes_per_second(self) -> int:
        """How fast the client may send in the long run."""

    @property
    def is_stranger(self) -> bool:
        """Whether the client has not authenticated."""

    def receive(self, frame: bytes) -> None:
        """Take a text message of valid UTF-8."""

    def receive_binary(self, frame: bytes) -> None:
        """Take a binary message, which is read as the same text."""

    def charge_frames(self, count: int) -> None:
        """Charge for frames that carry no event."""

    def ponged(self) -> None:
        """Take note of a pong."""

    def too_large(self) -> None:
        """Close: a message is too long."""

    def violated(self, code: CloseCode, reason: str) -> None:
        """Close: the client broke the WebSocket protocol."""

    def closed(self, code: int) -> None:
        """Take note that the client closed with this code, or that the connection was lost (1006)."""

    def close(self, code: CloseCode, reason: str) -> None:
        """Close."""


OpenConnection = Callable[[Transport, bytes], Receiver]
"""Takes in a new connection from an address, a salted hash."""
