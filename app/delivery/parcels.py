"""Parcels: what one node sends another."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct, ValidationError

from handlers.ports import Receipt
from stores.base import User
from stores.bus import Mark, Place


class Message(Struct, array_like=True, tag=1, frozen=True, gc=False):
    """An encoded event for a user whose home is another node, as `Delivery.send` has it.

    `number` counts what its sender's node sends, wherever it goes, and stays with it should it have to go again. One
    that the user's last home had numbered already has the `place` that it had there.
    """

    user: User
    frame: bytes
    about: User | None
    names: tuple[User, ...]
    number: int
    mark: Mark | None = None
    place: Place | None = None


class Turn(Struct, array_like=True, tag=2, frozen=True, gc=False):
    """A message by its turn among all that one node sends to another, the first being 1.

    Of the turns up to `heard` the sender knows what became of them.
    """

    turn: int
    message: Message
    heard: int = 0


class Confirmation(Struct, array_like=True, tag=3, frozen=True):
    """What became of the messages whose turns are `first` to `last`: delivered, but for those named.

    `queued` are kept for a user who is away, `lost` are neither. `moved` are for a user whose home is elsewhere by now;
    one that this node had numbered, but could not write down any more, has the place that it had there.
    `known` had come before, and have the timestamp that they had then.
    """

    first: int
    last: int
    queued: list[int]
    lost: list[int]
    moved: dict[int, Place | None]
    known: dict[int, str]


class Arrival(Receipt):
    """What becomes of a message that another node sent, in its turn there, knowing of the turns up to `heard`.

    One that came too late `is_moved`; `place` is the number that it had got here, if any.
    """

    node: str = ""
    turn: int = 0
    heard: int = 0
    is_moved: bool = False
    place: Place | None = None


def parcels_of(data: Raw) -> list[Any]:
    """Return the turns and confirmations that another node sent at once, without what only a newer version knows."""
    try:
        return _decode(data)
    except ValidationError:
        return [_decode_one(each) for each in _split(data) if _kind_of(each)[0] in _KINDS]


_KINDS = {kind.__struct_config__.tag for kind in (Turn, Confirmation)}
_decode = msgspec.msgpack.Decoder(list[Turn | Confirmation]).decode
_decode_one = msgspec.msgpack.Decoder(Turn | Confirmation).decode
_split = msgspec.msgpack.Decoder(list[Raw]).decode
_kind_of = msgspec.msgpack.Decoder(Annotated[list[Any], Meta(min_length=1)]).decode
