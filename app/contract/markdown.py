"""A page in Markdown: every event, when it is sent, its fields, what it is answered with, and an example."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from app.contract.asyncapi import terms
from app.contract.envelope import ENVELOPE, HEARTBEAT
from app.contract.events import Event
from app.contract.samples import sample
from app.contract.shapes import CAPABILITY, COMPONENT, Schema, Shapes
from schemas.fields import LISTED

HEAD = """\
# Events

Written by `bin/schema` from the handler table: change the structs and the handlers, not this page. A field that is
optional may be left out or, by a client, be null. Fields that have a type of their own link to it at the end.
"""
NO_FIELDS = "`data` has no fields."


def page(events: Iterable[Event], shapes: Shapes) -> str:
    """Return the page."""
    parts: dict[str, list[Event]] = {"client": [], "server": []}
    for event in events:
        parts[event.sender].append(event)
    lines = [HEAD, ENVELOPE, HEARTBEAT]
    for sender, sent in parts.items():
        lines += [f"## Sent by the {sender}", "", *(line for event in sent for line in _section(event, shapes))]
    return "\n".join([*lines, "## Types", "", *_types(shapes)]).rstrip() + "\n"


def _section(event: Event, shapes: Shapes) -> Iterator[str]:
    yield from (f"### {event.name}", "", event.description, "")
    text = terms(event)
    if text:
        yield from (text, "")
    yield from (*_fields(shapes.components.resolved(shapes.data[event.key])), "")
    shown = sample(event, shapes)
    if shown is not None:
        yield from ("```json", msgspec.json.format(msgspec.json.encode(shown), indent=2).decode(), "```", "")


def _types(shapes: Shapes) -> Iterator[str]:
    """Tell of the types that fields refer to, apart from the events themselves."""
    own = {data.get("$ref", "").removeprefix(COMPONENT) for data in shapes.data.values()}
    for name, schema in sorted(shapes.components.schemas.items()):
        if name not in own:
            yield from (f"### {name}", "", schema.get("description", ""), "", *_fields(schema), "")


def _fields(schema: Schema) -> Iterator[str]:
    if "enum" in schema:
        yield f"One of {_type(schema)}."
        return
    properties: dict[str, Schema] = schema.get("properties", {})
    if not properties:
        yield NO_FIELDS
        return
    yield from ("| field | type | |", "|---|---|---|")
    for name, each in properties.items():
        is_optional = "" if name in schema.get("required", ()) else "optional"
        capability = f"with the capability `{each[CAPABILITY]}`" if CAPABILITY in each else ""
        notes = [note for note in (is_optional, capability, _limits(each), each.get("description", "")) if note]
        yield f"| `{name}` | {_type(each)} | {'; '.join(notes)} |"


def _type(schema: Schema) -> str:
    """Return a type in words; null is told of at the head of the page."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(COMPONENT)
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    values = schema.get("enum", schema.get(LISTED))
    if values is not None:
        return ", ".join(f"`{value}`" for value in values if value is not None)
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"] if option.get("type") != "null")
    kinds = [kind for kind in _kinds(schema) if kind != "null"]
    if kinds == ["array"]:
        return f"list of {_type(schema.get('items', {}))}"
    return " or ".join(kinds) or "any JSON value"


def _kinds(schema: Schema) -> list[Any]:
    kind = schema.get("type", [])
    return kind if isinstance(kind, list) else [kind]


LIMITS = {
    "minLength": "length from {}",
    "maxLength": "length up to {}",
    "maxItems": "up to {} items",
    "minimum": "from {}",
    "maximum": "up to {}",
    "pattern": "matches `{}`",
}


def _limits(schema: Schema) -> str:
    if LISTED in schema:
        return ""
    return "; ".join(text.format(schema[name]) for name, text in LIMITS.items() if name in schema)
