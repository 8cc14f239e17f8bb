"""Frames as the documentation shows them, held to the structs that the server has for them."""

import json
from typing import Any

import msgspec

from app.contract.events import events_of
from app.tables import load_routes

STRUCTS = {event.name: event.struct for event in events_of(load_routes(()))}


def is_frame(value: object) -> bool:
    """Whether a JSON value claims to be a frame."""
    return isinstance(value, dict) and "event" in value


def check(members: dict[str, Any]) -> None:
    """Assert that this is a frame of the protocol, with no field that it does not have, in the order it has them."""
    assert list(members) == [name for name in ("event", "data", "ref", "offset") if name in members]
    struct = STRUCTS[members["event"]]
    data = members.get("data", {})
    event = msgspec.json.decode(json.dumps(data), type=struct)
    assert _given(json.loads(msgspec.json.encode(event))) == data


def _given(value: Any) -> Any:
    """Return a JSON value without the members that are null."""
    if isinstance(value, dict):
        return {name: _given(each) for name, each in value.items() if each is not None}
    return [_given(each) for each in value] if isinstance(value, list) else value
