"""The envelope, and the two kinds of event that travel in it."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from msgspec import Raw, Struct

from schemas.capabilities import Capability, Spoken
from schemas.examples import Example

Kept = Literal["always", "if_room", "while_pending", "if_told"]
NO_REF = Raw(b"")
NULL_REF = b"null"


class Envelope(Struct):
    """A client's frame, `{"event": string, "data"?: object | null, "ref"?: string | integer}`; `data` undecoded."""

    event: str
    data: Raw = Raw(b"{}")
    ref: Raw = NO_REF


class ClientEvent(Struct, frozen=True, rename="camel"):
    """`data` of an event that a client sends: checked by decoding, never by its constructor.

    `example` is shown in the contract; without one, one is made up. `fields_of` gives, for fields by
    their names on the wire, the capability they need; a socket without it may send anything there, and it is ignored.
    """

    example: ClassVar[Example | None] = None
    fields_of: ClassVar[Mapping[str, Capability]] = {}


class ServerEvent(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`data` of an event that the server sends; a field at its default of None is left out.

    One that is not the same for everybody sets `has_variants`, and `variant` tells who gets what. One that may wait for
    some milliseconds sets `can_wait`, so that several go out with one write. For the contract, `capability` says that
    only sockets which speak it get the event, and `example` is shown.

    `kept` says what becomes of the event while its receiver is away and may resume. One that is kept `if_room` is
    refused when the receiver's log is full. One that tells of a request is kept `while_pending`: the receiver is told
    on its return, if the request still waits. One that ends a request is kept `if_told` of the request before.

    `is_numbered` says that a receiver with `resume` gets the event with an `offset`. Events that never go through its
    log set it to False: answers to one socket, notices and presence.
    """

    event: ClassVar[str]
    kept: ClassVar[Kept] = "always"
    is_numbered: ClassVar[bool] = True
    has_variants: ClassVar[bool] = False
    can_wait: ClassVar[bool] = False
    capability: ClassVar[Capability | None] = None
    example: ClassVar[Example | None] = None

    @property
    def about_request(self) -> str:
        """The id of the request that this tells of, or ends; empty for all other events."""
        return ""

    def variant(self, _spoken: Spoken) -> "ServerEvent | None":
        """Return what a socket that speaks these capabilities gets of the event; None if nothing."""
        return self


class Frame(Struct, frozen=True):
    """A server's frame, keys in this order (docs/protocol.md section 1)."""

    event: str
    data: Any


class Ok(ServerEvent, frozen=True):
    """Sent when a frame had a `ref` and needs no other reply."""

    event: ClassVar[str] = "OK"
    is_numbered: ClassVar[bool] = False
    example: ClassVar[Example] = {}
