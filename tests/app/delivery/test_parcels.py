"""What one node sends another, of another version too."""

import msgspec
import pytest
from msgspec import Raw

from app.delivery.parcels import Confirmation, Message, Turn, parcels_of
from stores.base import User

TURN = Turn(1, Message(User("ann"), b"{}", None, (), 1))
CONFIRMATION = Confirmation(1, 2, [], [], {}, {})


def sent(*parcels: object) -> Raw:
    return Raw(msgspec.msgpack.encode(parcels))


def with_more(parcel: object) -> list[object]:
    """Return a parcel to which a newer version has added a field."""
    parts: list[object] = msgspec.msgpack.decode(msgspec.msgpack.encode(parcel))
    return [*parts, {"mood": "new"}]


def test_kinds_that_are_not_known() -> None:
    """A newer node may send parcels of other kinds, and more in those that are known: what is known arrives."""
    assert parcels_of(sent(TURN, [99, "news"], CONFIRMATION, [100])) == [TURN, CONFIRMATION]
    assert parcels_of(sent([99, "news"])) == []
    assert parcels_of(sent(with_more(TURN), with_more(CONFIRMATION))) == [TURN, CONFIRMATION]


@pytest.mark.parametrize("parcel", [[2, "no turn"], [3], [], "nonsense", None])
def test_what_is_no_parcel(parcel: object) -> None:
    """It is a mistake, and not left out in silence."""
    with pytest.raises(msgspec.ValidationError):
        parcels_of(sent(TURN, parcel))
