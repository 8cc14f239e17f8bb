"""A module in TypeScript: the types of all events and their answers, and the codes, for clients/typescript."""

import json
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import TypeVar

from app.contract.events import Event
from app.contract.shapes import COMPONENT, Schema, Shapes
from schemas.capabilities import CAPABILITIES
from schemas.errors import AFTER_CLOSE, MEANING, CloseCode, ErrorCode
from schemas.events import Ok
from schemas.fields import LISTED

Code = TypeVar("Code", bound=Enum)
HEAD = "// Written by `bin/schema` from the handler table: change the structs and the handlers, not this file.\n"
KINDS = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
    "object": "Record<string, unknown>",
}


def module(events: Iterable[Event], shapes: Shapes) -> str:
    """Return the module's text."""
    events = list(events)
    sent = [event for event in events if event.sender == "client"]
    types = {event.key: _type(shapes.data[event.key]) for event in events}
    names = {event.name: types[event.key] for event in events if event.sender == "server"}
    answers = {
        event.key: " | ".join(names.get(name, "unknown") for name in event.answers or (Ok.event,)) for event in sent
    }
    parts = [
        HEAD,
        _codes("ErrorCode", "Why something was refused.", ErrorCode, MEANING),
        _codes("CloseCode", "Why a socket was closed, and what to do.", CloseCode, AFTER_CLOSE),
        _alias("Capability", _union(CAPABILITIES), "What a socket may ask for beyond version 1."),
        *(_component(name, each) for name, each in shapes.components.schemas.items() if name != ErrorCode.__name__),
        _map("ServerEvents", "What the server sends.", (event for event in events if event.sender == "server"), types),
        _map("ClientEvents", "What a client sends.", sent, types),
        _map("Answers", "What an event with a `ref` is answered with, unless by `ERROR`.", sent, answers),
    ]
    return "\n".join(parts)


def _codes(name: str, text: str, codes: type[Code], meaning: Mapping[Code, str]) -> str:
    lines = [f"export const {name} = {{"]
    for code in codes:
        lines += [*_comment(meaning.get(code), "  "), f"  {code.name}: {json.dumps(code.value)},"]
    lines += ["} as const;", f"export type {name} = (typeof {name})[keyof typeof {name}];", ""]
    return "\n".join([*_comment(text), *lines])


def _component(name: str, schema: Schema) -> str:
    description = schema.get("description")
    if "properties" not in schema:
        return _alias(name, _type(schema), description)
    required = schema.get("required", ())
    fields = [
        line
        for field, each in schema["properties"].items()
        for line in _field(field, each, is_required=field in required)
    ]
    return "\n".join([*_comment(description), f"export interface {name} {{", *fields, "}", ""])


def _field(name: str, schema: Schema, *, is_required: bool) -> Iterator[str]:
    yield from _comment(schema.get("description"), "  ")
    yield f"  {_property(name)}{'' if is_required else '?'}: {_type(schema)};"


def _map(name: str, text: str, events: Iterable[Event], types: Mapping[str, str]) -> str:
    lines = [*_comment(text), f"export interface {name} {{"]
    for event in events:
        lines += [*_comment(event.summary, "  "), f"  {_property(event.name)}: {types[event.key]};"]
    return "\n".join([*lines, "}", ""])


def _alias(name: str, is_type: str, text: str | None) -> str:
    return "\n".join([*_comment(text), f"export type {name} = {is_type};", ""])


def _comment(text: str | None, indent: str = "") -> list[str]:
    if not text:
        return []
    lines = text.replace("*/", "* /").splitlines()
    if len(lines) == 1:
        return [f"{indent}/** {lines[0]} */"]
    return [f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in lines), f"{indent} */"]


def _property(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name)


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        name: str = schema["$ref"].removeprefix(COMPONENT)
        return name
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return _union(schema["enum"])
    if "anyOf" in schema:
        return " | ".join(_type(option) for option in schema["anyOf"])
    if LISTED in schema:
        return _union([*schema[LISTED], *([None] if "null" in schema["type"] else [])])
    kinds = schema.get("type", [])
    return " | ".join(_kind(kind, schema) for kind in (kinds if isinstance(kinds, list) else [kinds])) or "unknown"


def _kind(kind: str, schema: Schema) -> str:
    if kind == "array":
        return f"Array<{_type(schema.get('items', {}))}>"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"Record<string, {_type(schema['additionalProperties'])}>"
    return KINDS[kind]


def _union(values: Iterable[object]) -> str:
    return " | ".join(json.dumps(value) for value in values)
