"""Examples of events: their structs', or where those give none that fits, ones made up from the schema."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from app.contract.events import Event
from app.contract.shapes import Schema, Shapes
from schemas.fields import LISTED


def sample(event: Event, shapes: Shapes) -> dict[str, Any] | None:
    """Return a frame that shows the event; None if none can be made up."""
    for data in (event.struct.example, _made_up(shapes.data[event.key], shapes)):
        if isinstance(data, Mapping) and _fits(data, event.struct):
            return {"event": event.name, "data": data}
    return None


def _fits(data: object, struct: type[Struct]) -> bool:
    try:
        msgspec.json.decode(msgspec.json.encode(data), type=struct)
    except (msgspec.MsgspecError, TypeError):
        return False
    return True


def _made_up(schema: Schema, shapes: Shapes) -> object:
    schema = shapes.components.resolved(schema)
    for name in ("examples", "enum", LISTED, "anyOf"):
        if name in schema:
            first = schema[name][0]
            return _made_up(first, shapes) if name == "anyOf" else first
    if schema.get("type") == "object":
        return {name: _made_up(schema["properties"][name], shapes) for name in schema.get("required", ())}
    if schema.get("type") == "array":
        return [_made_up(schema.get("items", {}), shapes)] * schema.get("minItems", 0)
    return _scalar(schema)


def _scalar(schema: Schema) -> object:
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "string":
        return "text".ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]
    if kind in {"integer", "number"}:
        return schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    return {"boolean": True, "null": None}.get(str(kind), {})
