"""Types in TypeScript: the committed ones are what would be written, and they say what the schemas say."""

from pathlib import Path
from typing import Any

import pytest

from app.contract.contract import Contract
from app.contract.typescript import module
from app.rest.endpoints import endpoints
from app.settings import Settings
from app.tables import load_routes

COMMITTED = Path(__file__).resolve().parents[3] / "clients/typescript/src/events.ts"


def types(*plugins: str, **components: dict[str, Any]) -> str:
    contract = Contract(load_routes(plugins), endpoints(Settings()), "/ws")
    contract.shapes.components.schemas.update(components)
    return module(contract.events, contract.shapes)


def test_committed_copy() -> None:
    """What is in clients/typescript is what `bin/schema` writes; if not, run it."""
    assert COMMITTED.read_text() == types()


def test_events_of_plugins() -> None:
    """They are in the maps, too."""
    text = types("docs.examples.shout")
    assert "  SHOUT: Shout;" in text
    assert "  SHOUTED: Shouted;" in text


@pytest.mark.parametrize(
    ("schema", "is_written"),
    [
        ({}, "unknown"),
        ({"const": 5}, "5"),
        ({"enum": ["a", None]}, '"a" | null'),
        ({"type": ["string", "null"], "x-listed": ["a", "b"]}, '"a" | "b" | null'),
        ({"type": ["integer", "null"]}, "number | null"),
        ({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "boolean"}]}}, "Array<string | boolean>"),
        ({"type": "object"}, "Record<string, unknown>"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "Record<string, number>"),
    ],
)
def test_types(schema: dict[str, Any], is_written: str) -> None:
    """Each kind of schema has its type."""
    assert f"export type Odd = {is_written};" in types(Odd=schema)


def test_names_and_comments() -> None:
    """A field whose name is no identifier is quoted, one that may be absent is marked; no text ends its comment."""
    fields = {"a-b": {"type": "string", "description": "One */ two\nthree"}, "c": {"type": "string"}}
    text = types(Odd={"properties": fields, "required": ["c"]})
    assert text.count("*/") == text.count("/**")
    assert '  /**\n   * One * / two\n   * three\n   */\n  "a-b"?: string;\n  c: string;\n}' in text
