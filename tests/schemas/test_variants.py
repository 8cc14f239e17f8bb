"""Variants: who gets what of a struct, derived from the capabilities that its fields and events are marked with."""

import json
from collections.abc import Iterator
from itertools import combinations
from typing import Annotated, Any, ClassVar

import msgspec
import pytest
from msgspec import Raw, Struct

from app.contract.events import Event, events_of
from app.contract.samples import sample
from app.contract.shapes import Shapes
from app.tables import load_routes
from app.wire.codec import encode
from schemas.auth import Ping
from schemas.capabilities import CAPABILITIES, VERSION_1, spoken
from schemas.events import ClientEvent, ServerEvent
from schemas.messages import AddressedMessage, MessageReceived, SendMessage
from schemas.peers import PeersList
from schemas.variants import Needs, capabilities_of, needs_of, shown, views_of

EVENTS = [event for event in events_of(load_routes(())) if event.sender == "server"]
SHAPES = Shapes(EVENTS)
METADATA = {"os": "Linux", "publicKey": "k"}
WHOLE_EVENTS = {
    "CONNECTION_CANCELLED": "sessions",
    "MESSAGE_ACK": "acks",
    "SERVER_NOTICE": "notices",
    "SESSION_UPDATED": "sessions",
}
FIELDS: dict[str, dict[str, tuple[str, Any]]] = {
    "MESSAGE_RECEIVED": {
        "messageId": ("acks", "m"),
        "to": ("sessions", ["bob"]),
        "traceparent": ("trace", "00-1-2-01"),
    },
    "CONNECTION_REQUEST_RECEIVED": {
        "sessionId": ("sessions", "ses_1"),
        "role": ("sessions", "guest"),
        "expiresAt": ("sessions", "2026-01-31T09:00:00.000Z"),
    },
}
"""What the protocol promised first, by hand: the capability that a field needs, and a value for it."""
OFFERS: list[tuple[str, ...]] = [each for count in range(6) for each in combinations(CAPABILITIES, count)]


class Card(Struct, frozen=True):
    name: str
    color: Annotated[str | None, Needs("colors")] = None


class Branch(Struct, frozen=True):
    leaf: Card | None = None
    twigs: list["Branch"] = []


class Grown(ServerEvent, frozen=True):
    event: ClassVar[str] = "GROWN"
    card: Card
    maybe: Card | None = None
    pair: tuple[Card, ...] = ()
    by_name: dict[str, Card] = {}  # noqa: RUF012 - msgspec copies it, here and below
    either: Card | Branch | int = 0
    nested: list[list[Card]] = []  # noqa: RUF012
    plain: list[str] = []  # noqa: RUF012
    secret: Annotated[str, Needs("secrets")] | None = None


def dressed(value: Any) -> Any:
    """Return an example in which every profile has metadata."""
    if isinstance(value, list):
        return [dressed(each) for each in value]
    if not isinstance(value, dict):
        return value
    whole = {name: dressed(each) for name, each in value.items()}
    return {**whole, "metadata": METADATA} if "displayName" in whole else whole


def undressed(value: Any) -> Any:
    """Return it with no metadata anywhere."""
    if isinstance(value, list):
        return [undressed(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: undressed(each) for name, each in value.items() if name != "metadata"}


def expected(event: Event, data: dict[str, Any], asked: tuple[str, ...] | None) -> dict[str, Any] | None:
    """Return what a socket that asked for these is to get, worked out on the JSON."""
    has = asked or ()
    whole = WHOLE_EVENTS.get(event.name, event.capability)
    if whole is not None and whole not in has:
        return None
    marks = needs_of(event.struct) | {name: capability for name, (capability, _) in FIELDS.get(event.name, {}).items()}
    data = {name: value for name, value in data.items() if name not in marks or marks[name] in has}
    return data if asked is not None else undressed(data)


def examples(event: Event) -> Iterator[dict[str, Any]]:
    """Yield the data of an event: as in the contract, and with all that not everybody gets."""
    shown = sample(event, SHAPES)
    assert shown is not None
    plain = json.loads(msgspec.json.encode(shown["data"]))
    yield plain
    more = {name: value for name, (_, value) in FIELDS.get(event.name, {}).items()}
    yield {**dressed(plain), **more}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.key)
def test_every_combination(event: Event) -> None:
    """Whatever a socket asked for, it gets the event as the protocol says, byte for byte."""
    for data in examples(event):
        full: Any = msgspec.json.decode(msgspec.json.encode(data), type=event.struct)
        frame = json.loads(encode(full))["data"]
        for asked in (None, *OFFERS):
            variant = full.variant(spoken(asked))
            told = expected(event, frame, asked)
            assert (variant is None) == (told is None), asked
            assert told is None or encode(variant) == msgspec.json.encode({"event": event.name, "data": told}), asked
            assert full.has_variants or variant is full, asked


def test_what_is_sent_most_has_no_variants() -> None:
    """A class says by itself whether it has variants, whichever class is asked first."""
    assert (MessageReceived.has_variants, AddressedMessage.has_variants) == (False, True)
    assert MessageReceived.__dict__["has_variants"] is False
    assert {event.name for event in EVENTS if getattr(event.struct, "has_variants", False)} > {*WHOLE_EVENTS, *FIELDS}


def test_any_type() -> None:
    """A marked field is left out wherever it is: in unions, lists, mappings, and structs that hold their like."""
    card = Card("a", "red")
    branch = Branch(card, [Branch(card)])
    grown = Grown(card, card, (card,), {"a": card}, branch, [[card]], ["x"], "s")
    plain, bare = Card("a"), Branch(Card("a"), [Branch(Card("a"))])
    without = Grown(plain, plain, (plain,), {"a": plain}, bare, [[plain]], ["x"])
    assert capabilities_of(Grown) == {"colors", "secrets"}
    assert Grown.has_variants
    assert encode(grown.variant(frozenset()) or grown) == encode(without)
    assert grown.variant(frozenset({"colors", "secrets"})) is grown
    assert grown.variant(frozenset({"colors"})) == msgspec.structs.replace(grown, secret=None)
    assert Grown(plain).variant(frozenset({"secrets"})) == Grown(plain)
    assert shown(branch, frozenset()) == bare
    assert shown(branch, frozenset({"colors"})) is branch


def test_nothing_to_leave_out() -> None:
    """What a socket may see whole is passed on as it is, not copied."""
    message = AddressedMessage(session_id="s", sender="ann", content=Raw(b"1"), timestamp="t", message_id="m")
    assert message.variant(spoken(["acks"])) is message
    assert message.variant(VERSION_1) == msgspec.structs.replace(message, message_id=None)
    peers = PeersList(peers=[])
    assert peers.variant(spoken(())) is peers


def test_what_is_heard() -> None:
    """A client's field is heard only from sockets with its capability."""
    assert (needs_of(Ping), needs_of(SendMessage)) == ({"offset": "resume"}, {"messageId": "acks"})
    sent = SendMessage(session_id="s", content=Raw(b"1"), message_id="m")
    assert sent.heard_from(spoken(["acks"])) is sent
    assert sent.heard_from(spoken(["resume"])).message_id is None


def test_a_mark_that_cannot_be_kept() -> None:
    """A field that not everybody gets has to be None by default, or the frame would lack what it must have."""

    class Wrong(ClientEvent, frozen=True):
        field: Annotated[str, Needs("x")] = ""

    with pytest.raises(TypeError, match=r"Wrong\.field needs a capability, so its default must be None"):
        needs_of(Wrong)


def test_worked_out_once() -> None:
    """A view is made once for each class and set of capabilities, sockets share their sets, and few are remembered."""
    views = views_of(AddressedMessage)
    assert views[spoken(["acks"])] is views[spoken(("acks", "acks"))] is not None
    assert spoken(["acks", "trace"]) is spoken(["trace", "acks"])
    for number in range(3000):
        views[frozenset({str(number)})]
    assert len(views) <= 1024


def test_unknown_type() -> None:
    """A struct that names a type that does not exist is sent whole: nothing can be known of it."""

    class Unresolved(ServerEvent, frozen=True):
        event: ClassVar[str] = "UNRESOLVED"
        value: "Nowhere" = 1  # type: ignore[name-defined]  # noqa: F821

    event = Unresolved()
    assert not Unresolved.has_variants
    assert event.variant(VERSION_1) is event
