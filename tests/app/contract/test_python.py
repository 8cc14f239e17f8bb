"""The types of the Python client: the committed copy is what would be written, and what is written is Python."""

from pathlib import Path
from typing import Any, get_type_hints

import pytest
from msgspec import Struct

from app.contract.contract import Contract
from app.contract.events import events_of
from app.contract.python import BY_HAND, module
from app.contract.shapes import Shapes
from app.rest.endpoints import endpoints
from app.settings import Settings
from app.tables import load_routes
from handlers.context import Context
from handlers.table import HandlerTable, merge
from peersync import events as committed
from peersync.frames import Event
from schemas.events import ClientEvent, ServerEvent

ROOT = Path(__file__).resolve().parents[3]
PLUGIN = "docs.examples.shout"


def contract(*plugins: str) -> Contract:
    return Contract(load_routes(plugins), endpoints(Settings()), "/ws")


def executed(text: str) -> dict[str, Any]:
    """Return the names that a module defines."""
    names: dict[str, Any] = {"__name__": "generated"}
    exec(compile(text, "generated", "exec", dont_inherit=True), names)
    return names


def test_committed_copy() -> None:
    """What is in the client is what `bin/schema` writes; if not, run it."""
    assert (ROOT / "clients/python/peersync/events.py").read_text() == contract().python


def test_every_event_is_there() -> None:
    """What comes has a class, what goes a method, but for what the client has methods of its own for."""
    for event in contract().events:
        if event.sender == "server":
            assert committed.KINDS[event.name].__name__ == event.name.title().replace("_", "")
        else:
            assert hasattr(committed.Requests, event.name.lower()) == (event.name not in BY_HAND)


@pytest.mark.parametrize("name", [name for name, value in vars(committed).items() if hasattr(value, "__total__")])
def test_types_refer_to_types(name: str) -> None:
    """Every type that a field names is defined."""
    kind = getattr(committed, name)
    assert get_type_hints(kind, vars(committed)).keys() == kind.__required_keys__ | kind.__optional_keys__


def test_the_types_say_what_the_contract_says() -> None:
    hints = get_type_hints(committed.MessageReceivedData, vars(committed))
    assert (hints["from"], hints["content"], hints["to"]) == (str, Any, list[str])
    assert committed.KINDS["MESSAGE_RECEIVED"] is committed.MessageReceived


class Leaf(Struct, frozen=True):
    """Holds its like, in a field that Python has another use for."""

    lambda_: "list[Leaf]" = []
    width: int | str | None = None


class Grow(ClientEvent, frozen=True):
    r"""Says "\so"."""

    leaf: Leaf


class Odd(ServerEvent, frozen=True):
    """Has a field that JSON Schema knows nothing of."""

    event = "odd:ly"
    odd: complex


def test_plugins() -> None:
    """Their events are there as well, whatever they are called and made of."""
    names = executed(contract(PLUGIN).python)
    assert issubclass(names["KINDS"]["SHOUTED"], Event)
    assert "shout" in vars(names["Requests"])
    table = HandlerTable()

    @table.on("GROW")
    def grow(message: Grow, ctx: Context) -> Odd | None: ...

    events = events_of(merge([table]))
    names = executed(module(events, Shapes(events)))
    assert names["KINDS"]["odd:ly"].__name__ == "OddLy"
    assert names["OddLyData"] == dict[str, Any]
    assert names["GrowData"].__doc__ == r'Says "\so".'
