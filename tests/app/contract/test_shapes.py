"""JSON Schemas and examples: they say what the structs decode and encode, no more and no less."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest
from jsonschema import Draft202012Validator, ValidationError
from msgspec import Meta, Raw, Struct

from app.contract.events import Event, events_of
from app.contract.samples import sample
from app.contract.shapes import Schema, Shapes
from app.tables import load_routes
from app.wire.codec import decode_data, decode_envelope, encode
from handlers.context import Context
from handlers.table import HandlerTable, Route, merge
from schemas.errors import EventError
from schemas.events import ClientEvent, ServerEvent

ROUTES = load_routes(["docs.examples.shout"])
EVENTS = events_of(ROUTES)
SHAPES = Shapes(EVENTS)
SENT_BY_CLIENT = [event for event in EVENTS if event.sender == "client"]
SENT_BY_SERVER = [event for event in EVENTS if event.sender == "server"]
ANY = [None, True, 0, 1, -1, 1.5, "", "x", "x" * 5000, [], ["x"], [1], ["x"] * 65, {}, {"x": 1}]


class Card(Struct, frozen=True, rename="camel"):
    """Both sides send it, and the server does not leave null out."""

    nick_name: str | None = None


class Tree(Struct, frozen=True):
    """Holds its like."""

    card: Card
    twigs: list["Tree"] = []


class Planted(ClientEvent, frozen=True):
    """Has all kinds of fields."""

    tree: Tree
    kind: Literal["oak", "elm"]
    height: Annotated[float, Meta(gt=2)]
    code: Annotated[str, Meta(min_length=6, max_length=6)]
    names: Annotated[list[str], Meta(min_length=2)]
    mark: Annotated[str, Meta(examples=["a mark"])]
    either: int | str
    is_alive: bool
    nothing: None
    anything: Any


class Grown(ServerEvent, frozen=True):
    """Has a card too."""

    event: ClassVar[str] = "GROWN"
    tree: Tree
    note: str | None = None
    capability: str = "its own"  # type: ignore[misc]  # a plugin may name its fields as it likes
    example: int = 5  # type: ignore[misc, assignment]


class Odd(ClientEvent, frozen=True):
    """Has a field that JSON Schema knows nothing of, a default that is raw, and an example that does not fit."""

    example: ClassVar[Any] = {"raw": 1, "odd": 5}
    odd: complex
    raw: Raw = Raw(b"1")


class Unmakable(ClientEvent, frozen=True):
    """Has a field for which nothing can be made up."""

    place: Annotated[str, Meta(pattern="^[0-9]{4} .+$")]


def validator(event: Event, shapes: Shapes = SHAPES) -> Draft202012Validator:
    schema = shapes.alone(event)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def decodes(event: Event, frame: dict[str, Any], route: Route | None = None) -> bool:
    """Whether the dispatcher's decoder takes the frame."""
    route = route or ROUTES[event.name]
    try:
        decode_data(route, msgspec.json.Decoder(route.message), decode_envelope(json.dumps(frame).encode()).data)
    except EventError:
        return False
    return True


def fits(frame: dict[str, Any], event: Event, shapes: Shapes = SHAPES) -> bool:
    try:
        validator(event, shapes).validate(frame)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("event", SENT_BY_CLIENT, ids=lambda event: event.key)
def test_clients_example(event: Event) -> None:
    """The example of a client's event is its struct's, is decoded as it would be, and fits its schema."""
    frame = sample(event, SHAPES)
    assert frame is not None
    assert list(frame) == ["event", "data"]
    assert event.name == "SHOUT" or frame["data"] == event.struct.example
    assert decodes(event, frame)
    assert fits(json.loads(msgspec.json.encode(frame)), event)


@pytest.mark.parametrize("event", SENT_BY_SERVER, ids=lambda event: event.key)
def test_servers_example(event: Event) -> None:
    """The example of a server's event fits its schema, and is the very frame that is sent: members in this order."""
    frame = sample(event, SHAPES)
    assert frame is not None
    assert event.name == "SHOUTED" or msgspec.to_builtins(frame["data"]) == msgspec.to_builtins(event.struct.example)
    payload = msgspec.json.encode(frame)
    data: Any = msgspec.json.decode(msgspec.json.encode(frame["data"]), type=event.struct)
    assert encode(data) == payload
    assert fits(json.loads(payload), event)
    assert fits({**json.loads(payload), "ref": 1, "offset": 1}, event)


def changes(event: Event) -> Iterator[dict[str, Any]]:
    """Return the example with each of its fields left out, or being all kinds of value."""
    frame = json.loads(msgspec.json.encode(sample(event, SHAPES)))
    for info in msgspec.structs.fields(event.struct):
        name, data = info.encode_name, frame["data"]
        yield {**frame, "data": {key: value for key, value in data.items() if key != name}}
        for value in ANY:
            yield {**frame, "data": {**data, name: value}}


@pytest.mark.parametrize(
    "event", [event for event in SENT_BY_CLIENT if event.name != "AUTH"], ids=lambda event: event.key
)
def test_schema_says_what_is_decoded(event: Event) -> None:
    """A change of a field fits the schema if and only if the decoder takes it."""
    for frame in changes(event):
        assert fits(frame, event) == decodes(event, frame), frame


def test_token() -> None:
    """The token has to be a string, though whatever it is reaches the handler."""
    auth = next(event for event in EVENTS if event.name == "AUTH")
    for data, does_fit in (({"token": "x"}, True), ({"token": 5}, False), ({}, False)):
        assert fits({"event": "AUTH", "data": data}, auth) == does_fit
        assert decodes(auth, {"event": "AUTH", "data": data})


@pytest.mark.parametrize("event", SENT_BY_SERVER, ids=lambda event: event.key)
def test_server_sends_no_null(event: Event) -> None:
    """Nothing that the server sends is null."""
    assert '"null"' not in json.dumps({**SHAPES.alone(event), "$schema": ""})


def test_data_may_be_left_out_where_nothing_is_required() -> None:
    """A client need not send `data` if no field of it is required."""
    required = {event.name: "data" in SHAPES.frame(event)["required"] for event in EVENTS}
    assert (required["PING"], required["SEND_MESSAGE"], required["OK"]) == (False, True, True)


def test_descriptions_are_not_indented() -> None:
    """Docstrings come as they read, without the indentation of the source, which not every Python strips."""
    assert "\\n " not in json.dumps(SHAPES.components.schemas)


def test_other_frames_do_not_fit() -> None:
    """The name of the event and the type of `ref` are held to."""
    ping = next(event for event in EVENTS if event.name == "PING")
    assert fits({"event": "PING", "ref": "r"}, ping)
    assert not fits({"event": "PONG"}, ping)
    assert not fits({"event": "PING", "ref": 1.5}, ping)


@pytest.fixture
def planted() -> dict[str, Event]:
    """The events of a table with all kinds of fields, and with some that nothing can be said of."""
    table = HandlerTable()

    @table.on("PLANTED")
    def plant(message: Planted, ctx: Context) -> Grown | None: ...

    @table.on("ODD")
    def odd(message: Odd, ctx: Context) -> None: ...

    @table.on("UNMAKABLE")
    def unmakable(message: Unmakable, ctx: Context) -> None: ...

    return {event.key: event for event in events_of(merge([table]))}


def test_made_up(planted: dict[str, Event]) -> None:
    """Where the struct gives no example, one is made up from the required fields."""
    shapes = Shapes(planted.values())
    event = planted["PLANTED"]
    frame = sample(event, shapes)
    assert frame == {
        "event": "PLANTED",
        "data": {
            "tree": {"card": {}},
            "kind": "elm",
            "height": 3,
            "code": "text..",
            "names": ["text", "text"],
            "mark": "a mark",
            "either": 0,
            "isAlive": True,
            "nothing": None,
            "anything": {},
        },
    }
    assert fits(frame, event, shapes)
    assert sample(planted["UNMAKABLE"], shapes) is None


def test_two_shapes(planted: dict[str, Event]) -> None:
    """A struct that both sides send has two shapes only if they differ; null is kept where the struct keeps it."""
    components = Shapes(planted.values()).components.schemas
    assert {"Card", "CardInput", "Tree", "TreeInput"} <= set(components)
    assert {"type": "null"} in components["Card"]["properties"]["nickName"]["anyOf"]
    assert references(components["TreeInput"]) == {"CardInput", "TreeInput"}
    assert references(components["Tree"]) == {"Card", "Tree"}
    assert components["Grown"]["properties"]["note"] == {"type": "string", "title": "GrownNote"}


def references(schema: Schema) -> set[str]:
    return {part.split('"')[0] for part in json.dumps(schema).split("#/components/schemas/")[1:]}


def test_fields_named_as_ours(planted: dict[str, Event]) -> None:
    """A plugin's event may have fields of the names that say something of the event."""
    shapes = Shapes(planted.values())
    assert planted["GROWN"].capability is None
    assert sample(planted["GROWN"], shapes) == {"event": "GROWN", "data": {"tree": {"card": {}}}}


def test_unknown_to_json_schema(planted: dict[str, Event]) -> None:
    """A struct that there is no schema for is any object; it has no example, and all else is as ever."""
    shapes = Shapes(planted.values())
    assert shapes.data["ODD"] == {"type": "object"}
    assert sample(planted["ODD"], shapes) is None
    assert "Planted" in shapes.components.schemas
