"""Frames as the documentation shows them, held to the structs that the server has for them."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

import schemas.notices  # noqa: F401 - no handler answers with one
from app.tables import load_routes
from schemas.events import ClientEvent, ServerEvent


def _structs(base: type[ServerEvent]) -> Iterator[type[ServerEvent]]:
    """Return all kinds of server event; one with more fields comes after the one that it derives from."""
    for derived in base.__subclasses__():
        yield derived
        yield from _structs(derived)


CLIENT: dict[str, type[ClientEvent]] = {name: route.message for name, route in load_routes(()).items()}
SERVER: dict[str, type[ServerEvent]] = {each.event: each for each in _structs(ServerEvent) if hasattr(each, "event")}


def is_frame(value: object) -> bool:
    """Whether a JSON value claims to be a frame."""
    return isinstance(value, dict) and "event" in value


def check(members: dict[str, Any]) -> None:
    """Assert that this is a frame of the protocol, with no field that it does not have, in the order it has them."""
    assert list(members) == [name for name in ("event", "data", "ref", "offset") if name in members]
    struct = CLIENT.get(members["event"]) or SERVER[members["event"]]
    data = members.get("data", {})
    event = msgspec.json.decode(json.dumps(data), type=struct)
    assert _given(json.loads(msgspec.json.encode(event))) == data


def _given(value: Any) -> Any:
    """Return a JSON value without the members that are null."""
    if isinstance(value, dict):
        return {name: _given(each) for name, each in value.items() if each is not None}
    return [_given(each) for each in value] if isinstance(value, list) else value
