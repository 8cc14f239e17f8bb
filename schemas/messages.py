"""Messages within a session."""

from typing import Annotated, ClassVar

from msgspec import Raw, field

from schemas.capabilities import Capability
from schemas.events import ClientEvent, Kept, ServerEvent
from schemas.examples import MESSAGE_ID, SESSION_ID, TIMESTAMP, Example
from schemas.fields import Id, Ids, Label, Timestamp
from schemas.variants import Needs


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
    session_id: Id
    content: Raw
    type: Label | None = None
    correlation_id: Label | None = None
    message_id: Annotated[Id | None, Needs("acks")] = None
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

    message_id: Annotated[str | None, Needs("acks")] = None
    to: Annotated[list[str] | None, Needs("sessions")] = None


class TracedMessage(AddressedMessage, frozen=True, kw_only=True):
    """Brings a message of another participant.

    Only sockets with `acks` get `message_id`, with `sessions` `to`, with `trace` `traceparent` (of the W3C).
    """

    traceparent: Annotated[str | None, Needs("trace")] = None


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
