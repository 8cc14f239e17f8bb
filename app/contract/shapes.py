"""JSON Schemas of events (draft 2020-12), from the structs that decode and encode them."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from inspect import cleandoc
from typing import Any

import msgspec
from msgspec import Struct, inspect

from app.contract.events import ALWAYS_ANSWERS, Event, wire_names
from schemas.capabilities import VERSION_1_1
from schemas.events import ServerEvent
from schemas.variants import needs_of

Schema = dict[str, Any]
Adapt = Callable[[Schema, type[Struct]], Schema]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
NULL: Schema = {"type": "null"}
COMPONENT = "#/components/schemas/"
CAPABILITY = "x-capability"
"""The JSON Schema keyword for the capability that a field needs; messages of AsyncAPI have the same."""
REF: Schema = {
    "title": "Ref",
    "type": ["string", "integer"],
    "description": "Of the client's choice; every direct answer to the event carries it.",
}
OFFSET: Schema = {
    "title": "Offset",
    "type": "integer",
    "minimum": 1,
    "description": "Number of an event that is kept, for sockets with the capability `resume`.",
}


class Components:
    """Schemas by name, for documents to refer to."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}
        self._untitled: dict[str, Schema] = {}

    def add(self, structs: Sequence[type[Struct]], adapt: Adapt) -> list[Schema]:
        """Add the structs and all they are made of; return a reference to each.

        What is there already in another shape is kept beside the new one, which is named `...Input`. A struct that
        msgspec has no schema for is any object.
        """
        references, components = _generated(structs)
        parts = {part.__name__: part for struct in structs for part in _structs(struct)}
        told = {name: _told(component) for name, component in components.items()}
        adapted = {name: adapt(each, parts[name]) if name in parts else each for name, each in told.items()}
        clashes = self._clashes(adapted)

        def target(name: str) -> str:
            return f"{COMPONENT}{name}Input" if name in clashes else COMPONENT + name

        for name, component in adapted.items():
            here = target(name).removeprefix(COMPONENT)
            self._untitled[here] = component
            self.schemas[here] = titled(_moved(component, target), here)
        return [_moved(reference, target) for reference in references]

    def resolved(self, schema: Schema) -> Schema:
        """Return the component that a schema refers to, or the schema itself if it refers to none."""
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"].removeprefix(COMPONENT)]
        return schema

    def _clashes(self, adapted: Mapping[str, Schema]) -> set[str]:
        other = {name for name, each in adapted.items() if self._untitled.get(name, each) != each}
        return {
            name
            for name, each in adapted.items()
            if name in self._untitled and (name in other or reach(each, adapted) & other)
        }


class Shapes:
    """The schemas of all events: of `data` by the event's key, and of frames.

    A struct that both sides send has two shapes, since a client may write null where the server leaves a field out.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        events = list(events)
        self.components = Components()
        self.data: dict[str, Schema] = {}
        self._answers = {*ALWAYS_ANSWERS, *(name for event in events for name in event.answers)}
        for sender, adapt in (("server", never_null), ("client", as_read)):
            sent = [event for event in events if event.sender == sender]
            references = self.components.add([event.struct for event in sent], partial(_with_capabilities, adapt))
            self.data |= {event.key: reference for event, reference in zip(sent, references, strict=True)}

    def frame(self, event: Event) -> Schema:
        """Return the schema of the whole frame of an event, referring to the components."""
        data = self.data[event.key]
        name = "".join(part.capitalize() for part in re.split(r"[^A-Za-z0-9]+", event.key))
        properties: dict[str, Schema] = {"event": {"title": f"{name}Name", "const": event.name}, "data": data}
        if event.sender == "client" or event.name in self._answers:
            properties["ref"] = REF
        if issubclass(event.struct, ServerEvent) and event.struct.is_numbered:
            properties["offset"] = OFFSET
        may_lack_data = event.sender == "client" and not self.components.resolved(data).get("required")
        return {
            "title": f"{name}Frame",
            "type": "object",
            "properties": properties,
            "required": ["event"] if may_lack_data else ["event", "data"],
        }

    def alone(self, event: Event) -> Schema:
        """Return the same as a document of its own."""
        frame = self.frame(event)
        definitions = {name: self.components.schemas[name] for name in sorted(reach(frame, self.components.schemas))}
        head = {"$schema": DIALECT, "title": event.name, "description": event.description}
        rest = {name: part for name, part in frame.items() if name != "title"}
        return {**head, **_moved({**rest, "$defs": definitions}, "#/$defs/{}".format)}


def never_null(schema: Schema, struct: type[Struct]) -> Schema:
    """Leave null out where the struct leaves the field out instead."""
    if not struct.__struct_config__.omit_defaults:
        return schema
    return {**schema, "properties": {name: _without_null(each) for name, each in schema["properties"].items()}}


def as_read(schema: Schema, struct: type[Struct]) -> Schema:
    """Say null beside the type where it may stand for absence.

    A raw field that the handler looks at by itself is required, though decoding does without.
    """
    properties = {name: _with_null(each) for name, each in schema["properties"].items()}
    raws = {info.encode_name for info in msgspec.structs.fields(struct) if _is_raw(info.type) and not info.required}
    required = [name for name in properties if name in {*schema["required"], *raws}]
    return {**schema, "properties": properties, "required": required}


def titled(schema: Schema, title: str) -> Schema:
    """Return the schema with a title at each of its parts, so that code generators need not make names up."""
    if "$ref" in schema or schema == NULL:
        return schema
    parts = dict(schema)
    if "properties" in schema:
        parts["properties"] = {
            name: titled(each, title + _capital(name)) for name, each in schema["properties"].items()
        }
    for name, suffix in (("items", "Item"), ("additionalProperties", "Value")):
        if isinstance(schema.get(name), dict):
            parts[name] = titled(schema[name], title + suffix)
    if "anyOf" in schema:
        parts["anyOf"] = [titled(each, f"{title}{at}") for at, each in enumerate(schema["anyOf"], 1)]
    return {**parts, "title": title}


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def _with_capabilities(adapt: Adapt, schema: Schema, struct: type[Struct]) -> Schema:
    """Adapt, and say with each field that needs a capability which one; that of version 1.1 has no name to ask for."""
    adapted = adapt(schema, struct)
    needs = {name: capability for name, capability in needs_of(struct).items() if capability != VERSION_1_1}
    properties = {
        name: {**each, CAPABILITY: needs[name]} if name in needs else each
        for name, each in adapted["properties"].items()
    }
    return {**adapted, "properties": properties}


def reach(schema: Schema, components: Mapping[str, Schema]) -> set[str]:
    """Return the names of the components that a schema refers to, directly or through others."""
    found: set[str] = set()

    def note(name: str) -> str:
        if name not in found:
            found.add(name)
            _moved(components[name], note)
        return name

    _moved(schema, note)
    return found


def _without_null(schema: Schema) -> Schema:
    if schema.get("default", ...) is not None or "anyOf" not in schema:
        return schema
    options = [option for option in schema["anyOf"] if option != NULL]
    rest = {name: value for name, value in schema.items() if name not in {"anyOf", "default"}}
    return {**rest, **options[0]} if len(options) == 1 else {**rest, "anyOf": options}


def _with_null(schema: Schema) -> Schema:
    """Return the same, null being one of the types or of the values where there is a list of them."""
    bare = _without_null(schema)
    if bare is schema or NULL not in schema["anyOf"]:
        return schema
    if "enum" in bare:
        return {**bare, "enum": [*bare["enum"], None]}
    if isinstance(bare.get("type"), str):
        return {**bare, "type": [bare["type"], "null"]}
    return {name: value for name, value in schema.items() if name != "default"}


def _is_raw(kind: object) -> bool:
    info = inspect.type_info(kind)
    return isinstance(info.type if isinstance(info, inspect.Metadata) else info, inspect.RawType)


def _generated(structs: Iterable[type[Struct]]) -> tuple[list[Schema], dict[str, Schema]]:
    known = [struct for struct in structs if _has_schema(struct)]
    found, components = msgspec.json.schema_components(known, ref_template=COMPONENT + "{name}")
    schemas = dict(zip(known, found, strict=True))
    return [schemas.get(struct, {"type": "object"}) for struct in structs], components


def _has_schema(struct: type[Struct]) -> bool:
    try:
        msgspec.json.schema_components([struct])
    except (TypeError, NameError):
        return False
    return True


def _structs(root: type[Struct]) -> set[type[Struct]]:
    """Return the structs that a struct is made of, itself among them."""
    found: set[type[Struct]] = set()
    waiting: list[object] = [inspect.type_info(root)] if _has_schema(root) else []
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, inspect.StructType):
            if kind.cls in found:
                continue
            found.add(kind.cls)
        waiting += _parts(kind)
    return found


def _parts(kind: object) -> Iterator[object]:
    if isinstance(kind, inspect.Type | inspect.Field):
        for name in kind.__struct_fields__:
            value = getattr(kind, name)
            yield from value if isinstance(value, tuple) else (value,)


def _told(schema: Schema) -> Schema:
    description = schema.get("description")
    return {**schema, "description": wire_names(cleandoc(description))} if description else schema


def _moved(schema: Schema, target: Callable[[str], str]) -> Schema:
    """Return the schema with each reference to a component pointing to its target."""
    moved = {name: _moved_part(part, target) for name, part in schema.items()}
    reference = schema.get("$ref")
    return {**moved, "$ref": target(reference.removeprefix(COMPONENT))} if isinstance(reference, str) else moved


def _moved_part(part: object, target: Callable[[str], str]) -> object:
    if isinstance(part, dict):
        return _moved(part, target)
    return [_moved_part(each, target) for each in part] if isinstance(part, list) else part
