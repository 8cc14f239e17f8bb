"""What a message says, in the two shapes that plugins give it: the text itself, or an envelope around it.

Extensions written for the original server send `{"messageId", "content", "type"}` as content, and `ai-prompt` where the
protocol has `ai-request`. They cannot read a plain string, so they are answered in their own shape.
"""

import json
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from peersync.frames import Json

CHAT = "chat"
REQUEST = "ai-request"
RESPONSE = "ai-response"
ENVELOPED_REQUEST = "ai-prompt"
_REQUESTS = {REQUEST, ENVELOPED_REQUEST}


class Said(NamedTuple):
    """What a message says: `kind` is its type, `message_id` the id of its envelope."""

    text: str
    kind: str | None
    has_envelope: bool = False
    message_id: str | None = None

    @property
    def is_request(self) -> bool:
        """Whether it asks an agent for an answer."""
        return self.kind in _REQUESTS


class _Envelope(Struct, rename="camel"):
    message_id: str
    content: Raw
    type: Raw = Raw(b"null")


def read(content: str, kind: str | None) -> Said:
    """Return what a message says, given its content (any JSON) and its type. Never fails."""
    envelope = _envelope(content)
    if envelope is None:
        return Said(_shown(content), kind)
    if kind in {None, CHAT}:
        kind = _string(bytes(envelope.type)) or kind
    text = _shown(bytes(envelope.content).decode(errors="replace"))
    return Said(text, kind, has_envelope=True, message_id=envelope.message_id)


def enveloped(text: str, kind: str, message_id: str) -> Json:
    """Return a text as the content that an extension of the original reads."""
    return Json(json.dumps({"messageId": message_id, "content": text, "type": kind}, separators=(",", ":")))


def content_text(content: str) -> str:
    """Return a message's content for people: a string as it is, other JSON compactly, its numbers as they were sent.

    Raises `ValueError` or `RecursionError` for what is not JSON.
    """
    if content.lstrip().startswith('"'):
        return str(json.loads(content))
    try:
        return msgspec.json.format(content, indent=-1)
    except msgspec.DecodeError:
        return json.dumps(json.loads(content), ensure_ascii=False, separators=(",", ":"))


def _shown(content: str) -> str:
    """Return content for people; content that is not JSON is returned as it came."""
    try:
        return content_text(content)
    except (ValueError, RecursionError):
        return content


def _envelope(content: str) -> _Envelope | None:
    try:
        return msgspec.json.decode(content, type=_Envelope)
    except (ValueError, RecursionError):
        return None


def _string(raw: bytes) -> str | None:
    """Return a JSON string; None for any other JSON."""
    return msgspec.json.decode(raw, type=str) if raw.startswith(b'"') else None
