"""Dispatch: from a frame to the handler of its event, and from what comes of that to an answer.

Knows no event name and no framework. The checks come in the order of protocol.md section 1: JSON, event, state, data,
rights (size, UTF-8 and rate are checked where frames arrive).
"""

from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

import msgspec

from app.wire.codec import decode_data, decode_envelope
from handlers.ports import State
from handlers.table import Context, Route
from schemas.errors import Error, ErrorCode, EventError
from schemas.events import ClientEvent, ServerEvent
from stores.base import StoreUnreachableError

_LONGEST_ECHO = 100


class Logger(Protocol):
    """The part of a structlog logger that is used here."""

    def debug(self, event: str, **values: object) -> object:
        """Log for those who look closely."""
        ...

    def warning(self, event: str, **values: object) -> object:
        """Log what somebody may have to look at."""
        ...

    def exception(self, event: str, **values: object) -> object:
        """Log the exception being handled, with its traceback."""
        ...


class Dispatcher:
    """The handler table at work."""

    def __init__(self, routes: Mapping[str, Route], log: Logger, *, is_tracing: bool = False) -> None:
        self._rows: dict[str, tuple[Route, msgspec.json.Decoder[ClientEvent]]] = {
            name: (route, msgspec.json.Decoder(route.message)) for name, route in routes.items()
        }
        self._log = log
        self._is_tracing = is_tracing
        self.handled: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def dispatch(self, frame: bytes, ctx: Context) -> Awaitable[None] | None:
        """Handle one frame of valid UTF-8. Returns None when done, or what to await until it is."""
        try:
            route, message = self._parse(frame, ctx.socket.state)
        except EventError as refusal:
            self._refuse(refusal, ctx)
            return None
        if self._is_tracing:
            self._log.debug("event", **_bound(ctx, route, message))
        if route.is_async:
            return self._await(route, message, ctx)
        try:
            answer: Any = route.call(message, ctx)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is answered, here and nowhere else
            self._failed(error, route, message, ctx)
        else:
            self._answer(answer, route, ctx)
        return None

    async def _await(self, route: Route, message: ClientEvent, ctx: Context) -> None:
        try:
            coroutine: Any = route.call(message, ctx)
            answer = await coroutine
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error, route, message, ctx)
        else:
            self._answer(answer, route, ctx)

    def _parse(self, frame: bytes, state: State) -> tuple[Route, ClientEvent]:
        envelope = decode_envelope(frame)
        row = self._rows.get(envelope.event)
        if row is None:
            if state is State.CONNECTED:
                raise _not_authenticated()
            raise EventError(ErrorCode.NOT_A_MESSAGE, f"Unknown event: {envelope.event[:_LONGEST_ECHO]}")
        route, decoder = row
        if state < route.needs:
            raise _not_authenticated() if state is State.CONNECTED else _not_registered()
        return route, decode_data(route, decoder, envelope.data)

    def _answer(self, answer: ServerEvent | None, route: Route, ctx: Context) -> None:
        self.handled[route.event] += 1
        if answer is not None:
            ctx.socket.send(answer)

    def _failed(self, error: Exception, route: Route, message: ClientEvent, ctx: Context) -> None:
        if isinstance(error, EventError):
            refusal = error
        elif isinstance(error, StoreUnreachableError):
            self._log.warning("store unreachable", **_bound(ctx, route, message), reason=str(error))
            refusal = EventError(ErrorCode.STORE_UNREACHABLE, "The store cannot be reached now; try again")
        else:
            self._log.exception("handler failed", **_bound(ctx, route, message))
            refusal = EventError(ErrorCode.INTERNAL, "Internal error")
        self._refuse(refusal, ctx)

    def _refuse(self, refusal: EventError, ctx: Context) -> None:
        self.refused[refusal.code] += 1
        ctx.socket.send(Error(code=refusal.code, message=refusal.message, details=refusal.details))


def _not_authenticated() -> EventError:
    return EventError(ErrorCode.NOT_AUTHENTICATED, "Must authenticate first: send AUTH")


def _not_registered() -> EventError:
    return EventError(ErrorCode.NOT_REGISTERED, "Must register first: send PEER_REGISTER")


def _bound(ctx: Context, route: Route, message: ClientEvent) -> dict[str, object]:
    """Return what a log line about an event carries; never its content, never a token."""
    socket = ctx.socket
    values: dict[str, object] = {"socket_id": socket.holder.socket, "event_name": route.event}
    if socket.state > State.CONNECTED:
        values["user_id"] = socket.identity.user.id
    session_id = getattr(message, "session_id", None)
    if session_id is not None:
        values["session_id"] = session_id
    return values
