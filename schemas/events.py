"""The envelope, and the two kinds of event that travel in it."""

from typing import Any, ClassVar

from msgspec import Raw, Struct


class Envelope(Struct):
    """A client's frame, `{"event": string, "data"?: object | null}`; `data` still undecoded."""

    event: str
    data: Raw = Raw(b"{}")


class ClientEvent(Struct, frozen=True, rename="camel"):
    """`data` of an event that a client sends: checked by decoding, never by its constructor."""


class ServerEvent(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`data` of an event that the server sends; a field at its default of None is left out."""

    event: ClassVar[str]


class Frame(Struct, frozen=True):
    """A server's frame, keys in this order (protocol.md section 1)."""

    event: str
    data: Any
