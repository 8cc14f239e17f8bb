"""Frames: an event as text, and what a text of the server says."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MANY_DIGITS = 640  # the lowest limit that Python can be set to


@dataclass(frozen=True)
class Json:
    """JSON that is passed on as it is written, where `content` is expected: with all its digits, spaces and escapes."""

    text: str


@dataclass(frozen=True)
class Event:
    """A frame of the server: its `data`, and the whole `text` as it came.

    The events of the contract are classes derived from this one. One that this client does not know is an `Event`
    itself, `name` telling which; what is no event at all has an empty name.
    """

    name: str
    data: Any
    offset: int | None
    ref: str | int | None
    text: str


def encode(event: str, data: Mapping[str, object] | None = None, ref: str | None = None) -> str:
    """Return an event as it is sent. Raises `TypeError` or `ValueError` if there is no JSON for what is in `data`."""
    members = ",".join(f"{_json(name)}:{_json(value)}" for name, value in (data or {}).items())
    end = "" if ref is None else f',"ref":{_json(ref)}'
    return f'{{"event":{_json(event)},"data":{{{members}}}{end}}}'


def decode(text: str, kinds: Mapping[str, type[Event]]) -> Event:
    """Return what a frame says, as an object of the class that its event has in `kinds`."""
    try:
        frame = _decoded(text)
        name = frame["event"]
        return kinds.get(name, Event)(name, frame.get("data"), frame.get("offset"), frame.get("ref"), text)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return Event("", None, None, None, text)


def _decoded(text: str) -> dict[str, Any]:
    """Decode JSON; an integer with more digits than Python reads becomes a float, as all numbers in JavaScript."""
    try:
        frame: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        frame = json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < _MANY_DIGITS else float(digits))
    return frame


def _json(value: object) -> str:
    return value.text if isinstance(value, Json) else json.dumps(value, allow_nan=False, separators=(",", ":"))
