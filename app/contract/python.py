"""The Python client's types as a module: what events hold, a class for each that comes, a method for each that goes."""

import keyword
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from app.contract.events import Event
from app.contract.shapes import COMPONENT, Schema, Shapes
from schemas.fields import LISTED

BY_HAND = frozenset({"AUTH", "CONNECTION_RESPONSE", "SEND_MESSAGE"})
WIDTH = 120
HEAD = '''\
"""What goes over the wire, as types. Written by `bin/schema` from the server's contract: do not change it here."""
# ruff: noqa: ANN401, D401

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict, Unpack, cast

from peersync.frames import Event
'''
REQUESTS = '''\
class Requests(ABC):
    """What a client may ask of the server: a method for each event, which returns the data of its answer."""

    @abstractmethod
    async def request(self, event: str, data: Mapping[str, object] | None = None) -> Any:
        """Send an event, and return the data of its answer."""
'''
_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


def module(events: Iterable[Event], shapes: Shapes) -> str:
    """Return the text of the module."""
    events = list(events)
    names = _Names(events, shapes)
    types = (_type(names(name), schema, names) for name, schema in shapes.components.schemas.items())
    received = [event for event in events if event.sender == "server"]
    sent = [event for event in events if event.sender == "client" and event.name not in BY_HAND]
    known = [f"    {_quoted(event.name)}: {_camel(event.key)}," for event in received]
    kinds = "\n".join(["KINDS: Mapping[str, type[Event]] = {", *known, "}"])
    requests = "\n".join([REQUESTS, *(_method(event) for event in sent)])
    parts = [HEAD, *types, *_shapeless(events, shapes), *(_kind(event) for event in received), kinds, requests]
    return "\n\n".join(part.rstrip() + "\n" for part in parts)


class _Names:
    """What the schemas are called here: the data of an event after the event, the rest as it is."""

    def __init__(self, events: Iterable[Event], shapes: Shapes) -> None:
        self._data = {
            shapes.data[event.key]["$ref"].removeprefix(COMPONENT): f"{_camel(event.key)}Data"
            for event in events
            if "$ref" in shapes.data[event.key]
        }

    def __call__(self, name: str) -> str:
        return self._data.get(name, name)

    def kind(self, schema: Schema) -> str:
        """Return a schema as a type."""
        if "$ref" in schema:
            return self(schema["$ref"].removeprefix(COMPONENT))
        if "enum" in schema:
            return _literal(schema["enum"])
        if "anyOf" in schema:
            return " | ".join(dict.fromkeys(self.kind(option) for option in schema["anyOf"]))
        if LISTED in schema:
            return _literal([*schema[LISTED], *([None] if "null" in schema["type"] else [])])
        kinds = schema.get("type", [])
        return " | ".join(self._bare(kind, schema) for kind in (kinds if isinstance(kinds, list) else [kinds])) or "Any"

    def _bare(self, kind: str, schema: Schema) -> str:
        if kind == "array":
            return f"list[{self.kind(schema.get('items', {}))}]"
        return _SCALARS.get(kind, "dict[str, Any]")


def _type(name: str, schema: Schema, names: _Names) -> str:
    if "properties" not in schema:
        return f"{name} = {names.kind(schema)}" if "enum" not in schema else _alias(name, schema["enum"])
    required = schema.get("required", ())
    fields = {
        field: names.kind(each) if field in required else f"NotRequired[{names.kind(each)}]"
        for field, each in schema["properties"].items()
    }
    return "\n".join(_typed_dict(name, fields, schema.get("description", "")))


def _typed_dict(name: str, fields: Mapping[str, str], description: str) -> Iterator[str]:
    """Give the lines of a type; one with a field that Python has another use for is made by a call."""
    if all(field.isidentifier() and not keyword.iskeyword(field) for field in fields):
        yield f"class {name}(TypedDict):"
        yield from _docstring(description or name, "    ")
        yield from ["", *(f"    {field}: {kind}" for field, kind in fields.items())] if fields else []
    else:
        yield from (f"{name} = TypedDict(", f"    {_quoted(name)},", "    {")
        yield from (f"        {_quoted(field)}: {_quoted(kind)}," for field, kind in fields.items())
        yield from ("    },", ")")
        yield from _docstring(description, "") if description else ()


def _alias(name: str, values: Iterable[Any]) -> str:
    return "\n".join([f"{name} = Literal[", *(f"    {_quoted(value)}," for value in values), "]"])


def _shapeless(events: Iterable[Event], shapes: Shapes) -> Iterator[str]:
    """Give the data of events that there is no schema for."""
    for event in events:
        if "$ref" not in shapes.data[event.key]:
            yield f"{_camel(event.key)}Data = dict[str, Any]"


def _kind(event: Event) -> str:
    name = _camel(event.key)
    return "\n".join([f"class {name}(Event):", *_docstring(event.description, "    "), "", f"    data: {name}Data"])


def _method(event: Event) -> str:
    answers = " | ".join(f"{_camel(answer)}Data" for answer in event.answers or ("OK",))
    name, data = f"async def {event.key.lower()}", f"**data: Unpack[{_camel(event.key)}Data]"
    head = f"    {name}(self, {data}) -> {answers}:"
    wrapped = [f"    {name}(", f"        self, {data}", f"    ) -> {answers}:"]
    return "\n".join(
        [
            *([head] if len(head) <= WIDTH else wrapped),
            *_docstring(event.description, "        "),
            f"        return cast({answers}, await self.request({_quoted(event.name)}, data))",
            "",
        ]
    )


def _docstring(text: str, indent: str) -> Iterator[str]:
    """Give the lines of a docstring, its first sentence by itself where the whole does not fit."""
    text = re.sub(r'(?<=")"|"$', r"\"", text.strip().replace("\\", "\\\\"))
    summary, _, rest = re.sub(r"(?<=\.)\s", "\0", text, count=1).partition("\0")
    if not rest:
        lines = textwrap.wrap(text, WIDTH - len(indent) - 6)
        yield from [f'{indent}"""{lines[0]}"""'] if len(lines) == 1 else _long(lines, indent)
        return
    paragraphs = [" ".join(part.split()) for part in rest.split("\n\n") if part.strip()]
    body = [line for part in paragraphs for line in ("", *textwrap.wrap(part, WIDTH - len(indent)))]
    yield from _long([" ".join(summary.split()), *body], indent)


def _long(lines: list[str], indent: str) -> Iterator[str]:
    yield f'{indent}"""{lines[0]}'
    yield from (f"{indent}{line}".rstrip() for line in lines[1:])
    yield f'{indent}"""'


def _literal(values: Iterable[Any]) -> str:
    """Return a type of just these values; null is one of its own."""
    values = list(values)
    text = f"Literal[{', '.join(_quoted(value) for value in values if value is not None)}]"
    return f"{text} | None" if None in values else text


def _quoted(value: object) -> str:
    """Return a string, number or truth as Python has it, in double quotes."""
    if not isinstance(value, str):
        return repr(value)
    plain = msgspec.json.encode(value).decode()
    return f"'{value}'" if '"' in value and "'" not in value and "\\" not in value else plain


def _camel(key: str) -> str:
    return "".join(part.capitalize() for part in re.split(r"[^A-Za-z0-9]+", key))
