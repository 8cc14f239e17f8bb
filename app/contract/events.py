"""The events there are: a client's from the handler table, the server's from `schemas` and the plugins' modules."""

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, Literal, get_args, get_type_hints

from msgspec import Struct

import schemas
from handlers.ports import State
from handlers.table import Route
from schemas.errors import Error, ErrorCode
from schemas.events import ClientEvent, Ok, ServerEvent
from schemas.variants import needs_of, own_capability

Sender = Literal["client", "server"]
ALWAYS_ANSWERS = (Ok.event, Error.event)
EVERYWHERE = (ErrorCode.NOT_A_MESSAGE, ErrorCode.RATE_LIMITED, ErrorCode.INVALID_DATA, ErrorCode.INTERNAL)
GENERAL = "general"
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_.-]")
_FIELD = re.compile(r"`[a-z]+(?:_[a-z]+)+`")


class Event(Struct, frozen=True, kw_only=True):
    """One event of the contract.

    `key` is its name in the documents, unlike any other's. `errors` are its own, `common` those that it shares with
    others of its kind. `answers` are the names of what the server answers, apart from `ERROR`. `conditional` has
    those of them that only sockets with a capability get, `fields_of` the fields that need one. `domain` is the module
    of its struct: events about the same thing stand together.
    """

    key: str
    name: str
    domain: str
    sender: Sender
    struct: type[ClientEvent | ServerEvent]
    summary: str
    description: str
    needs: State | None = None
    capability: str | None = None
    errors: tuple[ErrorCode, ...] = ()
    common: tuple[ErrorCode, ...] = ()
    answers: tuple[str, ...] = ()
    conditional: Mapping[str, str] = {}
    fields_of: Mapping[str, str] = {}


def events_of(routes: Mapping[str, Route]) -> list[Event]:
    """Return all events, first those that clients send, in the order of the table."""
    taken: set[str] = set()
    sent = [_client_event(route, taken) for route in routes.values()]
    return [*sent, *(_server_event(struct, taken) for struct in _server_structs(routes.values()))]


def wire_names(text: str) -> str:
    """Return a docstring with its fields named as they are on the wire: `session_id` is `sessionId` there."""
    return _FIELD.sub(lambda match: _camel(match[0]), text)


def _client_event(route: Route, taken: set[str]) -> Event:
    summary, description = _told(route.event, route.message, inspect.getdoc(route.call))
    common = _common(route)
    answers = dict.fromkeys((*route.answers, *_annotated(route)))
    return Event(
        key=_key(route.event, taken),
        name=route.event,
        domain=_domain(route.message),
        sender="client",
        struct=route.message,
        summary=summary,
        description=description,
        needs=route.needs,
        capability=route.capability,
        errors=tuple(code for code in route.errors if code not in common),
        common=common,
        answers=tuple(struct.event for struct in answers),
        conditional={
            struct.event: needed
            for struct in answers
            if (needed := own_capability(struct)) is not None and needed != route.capability
        },
        fields_of=needs_of(route.message),
    )


def _server_event(struct: type[ServerEvent], taken: set[str]) -> Event:
    summary, description = _told(struct.event, struct)
    return Event(
        key=_key(struct.event, taken),
        name=struct.event,
        domain=_domain(struct),
        sender="server",
        struct=struct,
        summary=summary,
        description=description,
        capability=own_capability(struct),
    )


def _server_structs(routes: Iterable[Route]) -> list[type[ServerEvent]]:
    """Return one struct an event; the one that is derived from another of the same event has all there is to tell."""
    modules = dict.fromkeys([*_schema_modules(), *(sys.modules[route.call.__module__] for route in routes)])
    found: dict[str, type[ServerEvent]] = {}
    for struct in (value for module in modules for value in vars(module).values() if _is_server_event(value)):
        if struct.event not in found or issubclass(struct, found[struct.event]):
            found[struct.event] = struct
    return list(found.values())


def _schema_modules() -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(schemas.__path__):
        yield importlib.import_module(f"{schemas.__name__}.{info.name}")


def _is_server_event(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, ServerEvent) and isinstance(getattr(value, "event", None), str)


def _annotated(route: Route) -> list[type[ServerEvent]]:
    """Return the answers that the annotation of the handler names."""
    answer = get_type_hints(route.call).get("return")
    return [kind for kind in (get_args(answer) or (answer,)) if _is_server_event(kind)]


def _common(route: Route) -> tuple[ErrorCode, ...]:
    """Return what an event may be refused with for its state, its capability, and where it is handled."""
    conditions: dict[ErrorCode, Any] = {
        **dict.fromkeys(EVERYWHERE, True),
        ErrorCode.NOT_AUTHENTICATED: route.needs >= State.AUTHENTICATED,
        ErrorCode.NOT_REGISTERED: route.needs is State.REGISTERED,
        ErrorCode.NOT_ALLOWED: route.capability,
        ErrorCode.STORE_UNREACHABLE: route.is_async,
    }
    return tuple(sorted(code for code, is_possible in conditions.items() if is_possible))


def _told(name: str, struct: type[Struct], handler: str | None = None) -> tuple[str, str]:
    """Return the first sentence and all of the struct's docstring, or without one of the handler's."""
    description = wire_names(inspect.cleandoc(struct.__doc__ or "") or handler or name)
    first = re.split(r"(?<=\.)\s", description, maxsplit=1)[0]
    return " ".join(first.split()), description


def _domain(struct: type[Struct]) -> str:
    module = struct.__module__.rpartition(".")[2]
    return GENERAL if module in {"events", "errors"} else module


def _key(name: str, taken: set[str]) -> str:
    key = _NOT_IN_KEYS.sub("_", name) or "_"
    while key in taken:
        key += "_"
    taken.add(key)
    return key


def _camel(field: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), field)
