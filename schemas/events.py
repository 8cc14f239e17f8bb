"""The envelope, and the two kinds of event that travel in it."""

from typing import Any, ClassVar, Literal, Self, cast

from msgspec import Raw, Struct

from schemas.capabilities import Spoken
from schemas.examples import Example
from schemas.variants import Views, capabilities_of, views_of

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

    `example` is shown in the contract; without one, one is made up. A socket without the `capability` is refused. In a
    field marked with `Needs` a socket without that capability may send anything: `heard_from` leaves it out.
    """

    example: ClassVar[Example | None] = None
    capability: ClassVar[str | None] = None
    _views: ClassVar[Views]

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401 - those of a struct
        """Give each event views of its own."""
        super().__init_subclass__(**options)
        cls._views = views_of(cls)

    def heard_from(self, spoken: Spoken) -> Self:
        """Return the event without the fields that need a capability which the sender does not have."""
        look = self._views[spoken]
        return self if look is None else cast("Self", look(self))


class _HasVariants:
    """Works out `has_variants` when it is first asked for: by then all types that a struct names are there."""

    def __get__(self, _event: object, kind: "type[ServerEvent]") -> bool:
        kind.has_variants = bool(capabilities_of(kind))
        return kind.has_variants


class ServerEvent(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`data` of an event that the server sends; a field at its default of None is left out.

    Only sockets with the `capability` get the event, and a field marked with `Needs` only those with that capability;
    `has_variants` follows from both. An event that may wait for some milliseconds sets `can_wait`, so that several go
    out with one write. `example` is shown in the contract.

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
    capability: ClassVar[str | None] = None
    example: ClassVar[Example | None] = None
    _views: ClassVar[Views]

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401 - those of a struct
        """Give each event views of its own, and have it find out whether it has variants."""
        super().__init_subclass__(**options)
        cls._views = views_of(cls)
        setattr(cls, "has_variants", _HasVariants())  # noqa: B010 - it stands for the truth that it becomes

    @property
    def about_request(self) -> str:
        """The id of the request that this tells of, or ends; empty for all other events."""
        return ""

    def variant(self, spoken: Spoken) -> Self | None:
        """Return what a socket that speaks these capabilities gets of the event; None if nothing."""
        look = self._views[spoken]
        return self if look is None else cast("Self | None", look(self))


class Frame(Struct, frozen=True):
    """A server's frame, keys in this order (docs/protocol.md section 1)."""

    event: str
    data: Any


class Ok(ServerEvent, frozen=True):
    """Sent when a frame had a `ref` and needs no other reply."""

    event: ClassVar[str] = "OK"
    is_numbered: ClassVar[bool] = False
    example: ClassVar[Example] = {}
