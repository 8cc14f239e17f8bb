"""The handler table: which function takes which event, and the context it is called with.

    table = HandlerTable()

    @table.on("PING", needs=State.AUTHENTICATED)
    def ping(message: Ping, ctx: Context) -> Pong: ...

The struct to decode is the annotation of the first parameter; it also says which capability the event needs, if any.
A `def` runs inline, an `async def` in a task of its socket while later events of the socket wait. A handler returns its
answer or None and raises `EventError` to refuse.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, get_type_hints

from msgspec import Struct
from msgspec.structs import replace
from schemas.errors import ErrorCode, EventError
from schemas.events import ClientEvent, ServerEvent
from schemas.variants import own_capability

from handlers.context import Context
from handlers.ports import State

Answer = ServerEvent | None
Handler = Callable[[Any, Context], Answer | Awaitable[Answer]]
_Function = TypeVar("_Function", bound=Handler)


class TableError(Exception):
    """A table that cannot be served: an event named twice, or a handler that does not say what it takes."""


class Route(Struct, frozen=True, kw_only=True):
    """One row of the table.

    `errors` and `answers` are for the contract: the refusals that not every event may meet, and the answers that the
    function's annotation does not name.
    """

    event: str
    message: type[ClientEvent]
    needs: State
    call: Handler
    is_async: bool
    capability: str | None = None
    errors: tuple[ErrorCode, ...] = ()
    answers: tuple[type[ServerEvent], ...] = ()

    def guarded(self) -> Handler:
        """Return the handler, behind a check of the socket's capability if the event needs one."""
        return self.call if self.capability is None else _guarded(self.event, self.capability, self.call)


class HandlerTable:
    """The events of one domain."""

    def __init__(self) -> None:
        self._entries: list[Route] = []

    def on(
        self,
        event: str,
        *,
        needs: State = State.REGISTERED,
        errors: Iterable[ErrorCode] = (),
        answers: Iterable[type[ServerEvent]] = (),
    ) -> Callable[[_Function], _Function]:
        """Register the decorated function for an event and return it unchanged; nothing else happens at import."""

        def register(function: _Function) -> _Function:
            route = Route(
                event=event,
                message=ClientEvent,
                needs=needs,
                call=function,
                is_async=inspect.iscoroutinefunction(function),
                errors=tuple(errors),
                answers=tuple(answers),
            )
            self._entries.append(route)
            return function

        return register

    def routes(self) -> list[Route]:
        """Return the rows, annotations resolved; raises `TableError` for a handler that lacks one."""
        return [_resolved(route) for route in self._entries]


def merge(tables: Iterable[HandlerTable]) -> dict[str, Route]:
    """Return all rows by event name; raises `TableError` if two handlers want the same event."""
    merged: dict[str, Route] = {}
    for route in (route for table in tables for route in table.routes()):
        if route.event in merged:
            raise TableError(
                f"{route.event} has two handlers: {_name(merged[route.event].call)} and {_name(route.call)}"
            )
        merged[route.event] = route
    return merged


def _resolved(route: Route) -> Route:
    message = _message(route.event, route.call)
    return replace(route, message=message, capability=own_capability(message))


def _message(event: str, function: Handler) -> type[ClientEvent]:
    parameters = list(inspect.signature(function).parameters)
    try:
        message = get_type_hints(function).get(parameters[0]) if parameters else None
    except NameError as error:
        raise TableError(f"{_name(function)}, the handler of {event}: {error}") from None
    if not (isinstance(message, type) and issubclass(message, ClientEvent)):
        raise TableError(f"{_name(function)}, the handler of {event}: annotate its first parameter with a ClientEvent")
    return message


def _guarded(event: str, capability: str, call: Handler) -> Handler:
    def guarded(message: ClientEvent, ctx: Context) -> Answer | Awaitable[Answer]:
        if capability not in ctx.socket.spoken:
            raise EventError(ErrorCode.NOT_ALLOWED, f"{event} needs the capability {capability!r}, asked for in AUTH")
        return call(message, ctx)

    return guarded


def _name(function: Handler) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', function)}"
