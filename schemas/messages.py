"""Messages within a session."""

from typing import ClassVar

from msgspec import Raw, field

from schemas.events import ClientEvent, ServerEvent
from schemas.fields import Id, Label


class SendMessage(ClientEvent, frozen=True):
    """Sends `content`, any JSON value, to the other participants; it is passed on byte for byte, never decoded."""

    session_id: Id
    content: Raw
    type: Label | None = None
    correlation_id: Label | None = None


class MessageReceived(ServerEvent, frozen=True, kw_only=True):
    """A message of another participant; `timestamp` is ISO 8601, UTC, in milliseconds, 24 characters."""

    event: ClassVar[str] = "MESSAGE_RECEIVED"
    session_id: str
    sender: str = field(name="from")
    content: Raw
    type: str | None = None
    correlation_id: str | None = None
    timestamp: str
