"""Dispatch: from a frame to the handler of its event, and from what comes of that to an answer.

Knows no event name and no framework. A good frame is decoded in one pass, by a union of all events that the `event`
member tells apart. Whatever that refuses is looked at again, step by step, to find the error that comes first in the
order of docs/protocol.md section 1: JSON, event, state, data, rights (size, UTF-8 and rate are checked where frames
arrive).
"""

from asyncio import CancelledError, current_task
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from time import perf_counter
from typing import Any, Union

import msgspec
from anyio import fail_after
from msgspec import Raw

from app.histogram import Histogram
from app.logger import Logger
from app.wire.codec import check_ref, decode_data, decode_envelope
from handlers.context import Context
from handlers.ports import Socket, State
from handlers.table import Route
from schemas.errors import Error, ErrorCode, EventError, Limit
from schemas.events import NO_REF, ClientEvent, Envelope, Ok
from schemas.variants import needs_of
from stores.protocols import StoreUnreachableError

SAMPLED_OUT = 63  # one event in 64 is timed
HANDLER_SECONDS = 10.0
_LONGEST_ECHO = 100


class Row:
    """One row of the table at work: the route, the type of its whole frame, and what came of its events.

    `seconds` has the time of one event in 64.
    """

    __slots__ = (
        "call",
        "decoder",
        "event",
        "failed",
        "frame",
        "handled",
        "is_async",
        "marked",
        "needs",
        "refused",
        "route",
        "seconds",
    )

    def __init__(self, route: Route) -> None:
        self.route = route
        self.event = route.event
        self.call: Any = route.guarded()
        self.needs = route.needs
        self.is_async = route.is_async
        self.marked = needs_of(route.message)
        self.decoder = msgspec.json.Decoder(route.message)
        self.frame = msgspec.defstruct(
            "Frame", [("data", route.message), ("ref", Raw, NO_REF)], tag_field="event", tag=route.event, frozen=True
        )
        self.handled = self.refused = self.failed = 0
        self.seconds = Histogram()


class Dispatcher:
    """The handler table at work. A handler that is awaited for longer than `patience` seconds has failed."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        log: Logger,
        on_limit: Callable[[Limit, bytes], None] = lambda _limit, _address: None,
        *,
        patience: float = HANDLER_SECONDS,
        is_tracing: bool = False,
    ) -> None:
        self._by_event = {event: Row(route) for event, route in routes.items()}
        self._by_frame = {row.frame: row for row in self._by_event.values()}
        self._decode: Any = msgspec.json.Decoder(Union[tuple(self._by_frame)]).decode  # noqa: UP007 - made at run time
        self._log = log
        self._on_limit = on_limit
        self._patience = patience
        self._is_tracing = is_tracing
        self.refused = Counter(dict.fromkeys(ErrorCode, 0))

    @property
    def rows(self) -> Collection[Row]:
        """What came of each event."""
        return self._by_event.values()

    def dispatch(self, frame: bytes, ctx: Context) -> Awaitable[None] | None:
        """Handle one frame of valid UTF-8. Returns None when done, or what to await until it is."""
        try:
            decoded = self._decode(frame)
        except (msgspec.DecodeError, RecursionError):
            return self.dispatch_slowly(frame, ctx)
        row = self._by_frame[type(decoded)]
        if ctx.socket.state < row.needs or decoded.ref is not NO_REF:
            return self.dispatch_slowly(frame, ctx)
        return self._handle(row, decoded.data, ctx)

    def dispatch_slowly(self, frame: bytes, ctx: Context) -> Awaitable[None] | None:
        """Do the same for a frame that may well be no good, as a stranger's: it is decoded once, not twice."""
        row = None
        try:
            envelope = decode_envelope(frame, ctx.socket.charge)
            ref_error = _note_ref(envelope.ref, ctx)
            row = self._by_event.get(envelope.event)
            row, message = _read(row, envelope, ref_error, ctx.socket)
        except EventError as refusal:
            if row is not None:
                row.refused += 1
            self._refuse(refusal, ctx)
            return None
        return self._handle(row, message, ctx)

    def _handle(self, row: Row, message: ClientEvent, ctx: Context) -> Awaitable[None] | None:
        if self._is_tracing:
            self._log.debug("event", **_bound(ctx, row, message))
        if row.is_async:
            return self._await(row, message, ctx)
        began = 0.0 if row.handled & SAMPLED_OUT else perf_counter()
        try:
            answer = row.call(message, ctx)
            if ctx.ref is not None:
                ctx.answer(answer or Ok())
            elif answer is not None:
                ctx.socket.send(answer)
            row.handled += 1
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a handler raises is answered, here only
            self._failed(error, row, message, ctx)
        if began:
            row.seconds.observe(perf_counter() - began)
        return None

    async def _await(self, row: Row, message: ClientEvent, ctx: Context) -> None:
        began = 0.0 if row.handled & SAMPLED_OUT else perf_counter()
        try:
            with fail_after(self._patience):
                answer = await row.call(message, ctx)
            if answer is not None:
                ctx.answer(answer)
            elif ctx.ref is not None:
                ctx.answer(Ok())
            row.handled += 1
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
            self._failed(error, row, message, ctx)
        except CancelledError as error:
            if _is_cancelled():
                raise
            self._failed(error, row, message, ctx)
        if began:
            row.seconds.observe(perf_counter() - began)

    def _failed(self, error: BaseException, row: Row, message: ClientEvent, ctx: Context) -> None:
        if isinstance(error, EventError):
            refusal = error
        elif isinstance(error, StoreUnreachableError):
            self._log.warning("store unreachable", **_bound(ctx, row, message), reason=str(error))
            if ctx.socket.state is State.CONNECTED:
                ctx.socket.charge(-1)  # a client that authenticates again and again while the store is away is no flood
            refusal = EventError(ErrorCode.STORE_UNREACHABLE, "The store cannot be reached now; try again")
        else:
            self._log.exception("handler failed", **_bound(ctx, row, message))
            refusal = EventError(ErrorCode.INTERNAL, "Internal error")
        row.refused += refusal is error
        row.failed += refusal is not error
        self._refuse(refusal, ctx)

    def _refuse(self, refusal: EventError, ctx: Context) -> None:
        self.refused[refusal.code] += 1
        if refusal.limit is not None:
            self._on_limit(refusal.limit, ctx.socket.address)
        message = refusal.message.encode(errors="replace").decode()
        ctx.answer(Error(code=refusal.code, message=message, details=refusal.details))


def _is_cancelled() -> bool:
    """Whether this task is to end, and not just something that it waited for."""
    task = current_task()
    return task is not None and task.cancelling() > 0


def _read(row: Row | None, envelope: Envelope, ref_error: EventError | None, socket: Socket) -> tuple[Row, ClientEvent]:
    """Return the event and its row, or raise the first of the errors that it has."""
    state = socket.state
    if state is State.CONNECTED and (row is None or row.needs > state):
        raise EventError(ErrorCode.NOT_AUTHENTICATED, "Must authenticate first: send AUTH")
    if row is None:
        raise EventError(ErrorCode.NOT_A_MESSAGE, f"Unknown event: {envelope.event[:_LONGEST_ECHO]}")
    if state < row.needs:
        raise EventError(ErrorCode.NOT_REGISTERED, "Must register first: send PEER_REGISTER")
    if ref_error is not None:
        raise ref_error
    ignored = [name for name, capability in row.marked.items() if capability not in socket.spoken]
    return row, decode_data(row.route, row.decoder, envelope.data, ignored)


def _note_ref(ref: Raw, ctx: Context) -> EventError | None:
    """Let the answer to this event carry its `ref`; return what is wrong with it, to be told in its turn."""
    ctx.ref = None
    if ref is NO_REF:
        return None
    try:
        ctx.ref = check_ref(ref)
    except EventError as error:
        return error
    return None


def _bound(ctx: Context, row: Row, message: ClientEvent) -> dict[str, object]:
    """Return what a log line about an event carries; never its content, never a token."""
    socket = ctx.socket
    values: dict[str, object] = {"socket_id": socket.holder.socket, "event_name": row.event}
    if socket.state > State.CONNECTED:
        values["user_id"] = socket.identity.user.id
    session_id = getattr(message, "session_id", None)
    if session_id is not None:
        values["session_id"] = session_id
    return values
