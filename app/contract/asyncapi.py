"""AsyncAPI 3.0: the socket."""

from collections.abc import Iterable, Mapping
from typing import Any

from app import VERSION
from app.contract.envelope import ENVELOPE, HEARTBEAT
from app.contract.events import ALWAYS_ANSWERS, Event
from app.contract.samples import sample
from app.contract.shapes import CAPABILITY, Shapes
from schemas.errors import AFTER_CLOSE, MEANING, ErrorCode
from schemas.events import Ok

LINE = "|---|---|"
CHANNEL = "#/channels/socket"
INTRODUCTION = """\
Connect to the socket and send one JSON object a frame. Send `AUTH` first, within ten seconds, then `PEER_REGISTER`;
each event below says what it needs. Both sides ignore fields that they do not know.
"""
CAPABILITIES = """\
## Capabilities

A client asks for capabilities by `capabilities` in its first `AUTH`. The server speaks version 1 to a socket that names
none: that socket gets no event and no field that belongs to a capability.
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
        "x-errors": dict(MEANING),
        "x-closes": {str(code.value): advice for code, advice in AFTER_CLOSE.items()},
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
        CAPABILITY: event.capability,
        "x-errors": [*event.errors, *event.common],
        "x-own-errors": list(event.errors),
        "x-answers": [*event.answers, *([Ok.event] if may_answer_ok(event) else [])],
        "x-answered": answered(event),
    }
    return {
        "name": event.name,
        "title": event.name,
        "description": event.description,
        "tags": [{"name": event.domain}],
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
        "tags": [{"name": event.domain}, {"name": f"sent by the {event.sender}"}],
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
        lines.append(f"Answer: {answered(event)}")
    text = " ".join(lines)
    if event.errors:
        text += "\n\nRefused with:\n\n" + "\n".join(f"- {_meaning(code)}" for code in event.errors)
    if event.common:
        text += f"\n\nAs others may be: {', '.join(f'`{code}`' for code in event.common)}."
    return text


def answered(event: Event) -> str:
    """Return in words what an event of a client is answered with, unless it is refused; empty for the server's."""
    if event.sender == "server":
        return ""
    told = [_under_condition(event, name) for name in event.answers]
    if not may_answer_ok(event):
        return f"{' or '.join(told)}."
    ok = f"`{Ok.event}` if it has a `ref`"
    return f"{' or '.join(told)}; otherwise none, or {ok}." if told else f"none, or {ok}."


def may_answer_ok(event: Event) -> bool:
    """Whether a `ref` alone brings an answer: the event has no other, or only for sockets with some capability."""
    return event.sender == "client" and all(name in event.conditional for name in event.answers)


def _under_condition(event: Event, name: str) -> str:
    capability = event.conditional.get(name)
    if capability is None:
        return f"`{name}`"
    fields = [field for field, needed in event.fields_of.items() if needed == capability]
    has = "".join(f" and the frame has a `{field}`" for field in fields)
    return f"`{name}` if the socket has the capability `{capability}`{has}"


def _meaning(code: ErrorCode) -> str:
    return f"`{code}` {MEANING[code]}"


def _introduction() -> str:
    errors = [f"| `{code}` | {meaning} |" for code, meaning in MEANING.items()]
    closes = [f"| {code.value} | {advice} |" for code, advice in AFTER_CLOSE.items()]
    tables = ["## Errors", "", "| code | means |", LINE, *errors, ""]
    tables += ["## Close codes", "", "| closed with | what to do |", LINE, *closes]
    return "\n".join([INTRODUCTION, ENVELOPE, HEARTBEAT, CAPABILITIES, *tables])
