"""Messages within a session."""

from typing import ClassVar

from msgspec import Raw, field
from msgspec.structs import replace

from schemas.capabilities import Spoken
from schemas.events import ClientEvent, ServerEvent
from schemas.fields import Id, Ids, Label


class SendMessage(ClientEvent, frozen=True):
    """Sends `content`, any JSON value, to the other participants; it is passed on byte for byte, never decoded.

    `to` names those of them who get it. With the capability `acks` a `message_id` asks for `MESSAGE_ACK`.
    """

    session_id: Id
    content: Raw
    type: Label | None = None
    correlation_id: Label | None = None
    message_id: Id | None = None
    to: Ids | None = None


class MessageReceived(ServerEvent, frozen=True, kw_only=True):
    """A message of another participant; `timestamp` is ISO 8601, UTC, in milliseconds, 24 characters."""

    event: ClassVar[str] = "MESSAGE_RECEIVED"
    session_id: str
    sender: str = field(name="from")
    content: Raw
    type: str | None = None
    correlation_id: str | None = None
    timestamp: str


class AddressedMessage(MessageReceived, frozen=True, kw_only=True):
    """A message with what only some are told of: `message_id` those with `acks`, `to` those with `sessions`."""

    has_variants: ClassVar[bool] = True
    message_id: str | None = None
    to: list[str] | None = None

    def variant(self, spoken: Spoken) -> "AddressedMessage":
        """Return it without what the receiver does not speak."""
        message_id = self.message_id if "acks" in spoken else None
        to = self.to if "sessions" in spoken else None
        if message_id is self.message_id and to is self.to:
            return self
        return replace(self, message_id=message_id, to=to)


class MessageAck(ServerEvent, frozen=True, kw_only=True):
    """Tells the sender who has its message: handed to their sockets, or kept for their return."""

    event: ClassVar[str] = "MESSAGE_ACK"
    message_id: str
    session_id: str
    timestamp: str
    delivered: tuple[str, ...]
    queued: tuple[str, ...]
    duplicate: bool | None = None
