"""AsyncAPI 3.0: the socket."""

from collections.abc import Iterable, Mapping
from typing import Any

from app import VERSION
from app.contract.events import ALWAYS_ANSWERS, Event
from app.contract.samples import sample
from app.contract.shapes import Shapes
from schemas.errors import AFTER_CLOSE, MEANING, ErrorCode

LINE = "|---|---|"
CHANNEL = "#/channels/socket"
INTRODUCTION = """\
Connect to the socket and send one JSON object a frame: `{"event": ..., "data": {...}}`. First `AUTH`, within ten
seconds, then `PEER_REGISTER`; what each event needs is said with it. Unknown fields are ignored, everywhere.

A frame may carry a `ref`, a string or an integer: every direct answer to it carries the same, and what has no other
answer is answered `OK`. What is refused is answered `ERROR`, and the socket stays open.

Capabilities are asked for by `capabilities` in the first `AUTH`. A socket that names none is spoken to in version 1:
it gets no event and no field that belongs to a capability.
"""


def document(events: Iterable[Event], shapes: Shapes, path: str) -> dict[str, Any]:
    """Return the AsyncAPI document of a socket at this path, but for where its server is."""
    events = list(events)
    keys = {event.name: event.key for event in events if event.sender == "server"}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "PeerSync Dev Connect",
            "version": VERSION,
            "description": _introduction(),
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {},
        "channels": {
            "socket": {
                "address": path,
                "title": "The socket",
                "description": "One WebSocket a peer; one JSON object a text frame.",
                "messages": {event.key: {"$ref": f"#/components/messages/{event.key}"} for event in events},
            }
        },
        "operations": {event.key: _operation(event, keys) for event in events},
        "components": {
            "messages": {event.key: _message(event, shapes) for event in events},
            "schemas": shapes.components.schemas,
        },
    }


def server(host: str, *, is_secure: bool) -> dict[str, str]:
    """Return the server object for a name and port, behind TLS or not."""
    return {"host": host, "protocol": "wss" if is_secure else "ws"}


def _message(event: Event, shapes: Shapes) -> dict[str, Any]:
    shown = sample(event, shapes)
    needs = None if event.needs is None else event.needs.name.lower()
    extras = {
        "x-sender": event.sender,
        "x-needs": needs,
        "x-capability": event.capability,
        "x-errors": [*event.errors, *event.common],
        "x-answers": list(event.answers),
    }
    return {
        "name": event.name,
        "title": event.name,
        "description": event.description,
        "payload": shapes.frame(event),
        **({} if shown is None else {"examples": [{"name": event.key, "payload": shown}]}),
        **{name: value for name, value in extras.items() if value},
    }


def _operation(event: Event, keys: Mapping[str, str]) -> dict[str, Any]:
    operation = {
        "action": "receive" if event.sender == "client" else "send",
        "channel": {"$ref": CHANNEL},
        "title": event.name,
        "summary": event.summary,
        "description": terms(event),
        "messages": [_reference(event.key)],
        "tags": [{"name": f"sent by the {event.sender}"}],
    }
    if event.sender == "server":
        return operation
    answers = dict.fromkeys((*event.answers, *ALWAYS_ANSWERS))
    replies = [_reference(keys[name]) for name in answers if name in keys]
    return {**operation, "reply": {"channel": {"$ref": CHANNEL}, "messages": replies}}


def _reference(key: str) -> dict[str, str]:
    return {"$ref": f"{CHANNEL}/messages/{key}"}


def terms(event: Event) -> str:
    """Return in Markdown what an event needs, what it is answered with, and what it may be refused with."""
    lines = []
    if event.needs is not None:
        lines.append(f"Needs a socket that is {event.needs.name.lower()}.")
    if event.capability is not None:
        verb = "Needs" if event.sender == "client" else "Only for sockets with"
        lines.append(f"{verb} the capability `{event.capability}`.")
    if event.sender == "client":
        answers = " or ".join(f"`{name}`" for name in event.answers)
        lines.append(f"Answer: {answers}." if answers else "Answer: none; `OK` if it has a `ref`.")
    text = " ".join(lines)
    if event.errors:
        text += "\n\nRefused with:\n\n" + "\n".join(f"- {_meaning(code)}" for code in event.errors)
    if event.common:
        text += f"\n\nAs others may be: {', '.join(f'`{code}`' for code in event.common)}."
    return text


def _meaning(code: ErrorCode) -> str:
    return f"`{code}` {MEANING[code]}"


def _introduction() -> str:
    errors = [f"| `{code}` | {meaning} |" for code, meaning in MEANING.items()]
    closes = [f"| {code.value} | {advice} |" for code, advice in AFTER_CLOSE.items()]
    tables = ["| code | means |", LINE, *errors, "", "| closed with | what to do |", LINE, *closes]
    return "\n".join([INTRODUCTION, *tables])
