"""Messages within a session."""

from collections.abc import Mapping
from typing import ClassVar

from msgspec import Raw, field
from msgspec.structs import replace

from schemas.capabilities import Capability, Spoken
from schemas.events import ClientEvent, Kept, ServerEvent
from schemas.examples import MESSAGE_ID, SESSION_ID, TIMESTAMP, Example
from schemas.fields import Id, Ids, Label, Timestamp


class SendMessage(ClientEvent, frozen=True):
    """Sends `content`, any JSON value, to the other participants of a session. The server passes it on byte for byte.

    `to` names the participants who get it; without it all others do. With the capability `acks` a `message_id` asks
    for `MESSAGE_ACK`, and makes it safe to send the message again.
    """

    example: ClassVar[Example] = {
        "sessionId": SESSION_ID,
        "content": {"prompt": "Why does this loop forever?"},
        "type": "ai-request",
        "correlationId": "cor_1",
    }
    fields_of: ClassVar[Mapping[str, Capability]] = {"messageId": "acks"}
    session_id: Id
    content: Raw
    type: Label | None = None
    correlation_id: Label | None = None
    message_id: Id | None = None
    to: Ids | None = None


class MessageReceived(ServerEvent, frozen=True, kw_only=True):
    """A message of another participant."""

    event: ClassVar[str] = "MESSAGE_RECEIVED"
    kept: ClassVar[Kept] = "if_room"
    example: ClassVar[Example] = {
        "sessionId": SESSION_ID,
        "from": "ann",
        "content": {"prompt": "Why does this loop forever?"},
        "type": "ai-request",
        "correlationId": "cor_1",
        "timestamp": TIMESTAMP,
    }
    session_id: str
    sender: str = field(name="from")
    content: Raw
    type: str | None = None
    correlation_id: str | None = None
    timestamp: Timestamp


class AddressedMessage(MessageReceived, frozen=True, kw_only=True):
    """A message of another participant, with the fields that some capabilities add."""

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


class TracedMessage(AddressedMessage, frozen=True, kw_only=True):
    """Brings a message of another participant.

    Only sockets with `acks` get `message_id`, with `sessions` `to`, with `trace` `traceparent` (of the W3C).
    """

    traceparent: str | None = None

    def variant(self, spoken: Spoken) -> "TracedMessage":
        """Return it without what the receiver does not speak."""
        return replace(
            self,
            message_id=self.message_id if "acks" in spoken else None,
            to=self.to if "sessions" in spoken else None,
            traceparent=self.traceparent if "trace" in spoken else None,
        )


class MessageAck(ServerEvent, frozen=True, kw_only=True):
    """Tells the sender who has its message: `delivered` was handed to a socket, `queued` is kept for a return.

    Those in `full` are away and have no room for more, so the message is not kept for them.
    """

    event: ClassVar[str] = "MESSAGE_ACK"
    is_numbered: ClassVar[bool] = False
    can_wait: ClassVar[bool] = True
    capability: ClassVar[Capability] = "acks"
    example: ClassVar[Example] = {
        "messageId": MESSAGE_ID,
        "sessionId": SESSION_ID,
        "timestamp": TIMESTAMP,
        "delivered": ["bob"],
        "queued": [],
    }
    message_id: str
    session_id: str
    timestamp: Timestamp
    delivered: tuple[str, ...]
    queued: tuple[str, ...]
    full: tuple[str, ...] | None = None
    duplicate: bool | None = None
