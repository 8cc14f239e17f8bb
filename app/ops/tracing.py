"""Tracing with OpenTelemetry: a span for each handled event, and the trace context passed on with each message.

While tracing is off, it costs nothing: tracing wraps the routes of the handler table before they are served.
A span has the event's name and its outcome, never message content or user names.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any, cast

import anyio.to_thread
import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from app import VERSION
from app.settings import Settings, SettingsError
from handlers.context import Context
from handlers.ports import Delivery
from handlers.table import Handler, Route
from schemas.errors import EventError
from schemas.events import ClientEvent, ServerEvent
from schemas.messages import MessageReceived, TracedMessage
from stores.model import User

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

NO_TRACE = Raw(b"")
LONGEST = 128
CLOSE_SECONDS = 3.0


class Tracing:
    """Traces the handlers of an application. Must be closed."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace  # noqa: PLC0415 - an optional dependency
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._api: Any = trace
        self._provider = provider
        self._tracer = provider.get_tracer("peersync", VERSION)
        self._propagator = TraceContextTextMapPropagator()

    def traced(self, routes: Mapping[str, Route]) -> dict[str, Route]:
        """Return the routes with traced handlers; their events may carry `traceparent` in `data`."""
        return {event: self._traced(route) for event, route in routes.items()}

    async def close(self) -> None:
        """Export the remaining spans and stop; waits at most `CLOSE_SECONDS` for the collector."""
        shutdown = Thread(target=self._provider.shutdown, daemon=True)  # daemon: process exit does not wait for it
        shutdown.start()
        await anyio.to_thread.run_sync(shutdown.join, CLOSE_SECONDS)

    def _traced(self, route: Route) -> Route:
        call = self._trace_async(route) if route.is_async else self._trace_sync(route)
        return replace(route, message=_with_traceparent(route.message), call=call)

    def _trace_sync(self, route: Route) -> Handler:
        def call(message: Any, ctx: Context) -> Any:  # noqa: ANN401 - what the handler takes and returns
            with self._span(route.event, message.traceparent) as traceparent, _propagating(ctx, traceparent):
                return route.call(message, ctx)

        return call

    def _trace_async(self, route: Route) -> Handler:
        async def call(message: Any, ctx: Context) -> Any:  # noqa: ANN401 - as above
            handler = cast("Callable[..., Any]", route.call)
            with self._span(route.event, message.traceparent):
                return await handler(message, ctx)

        return call

    @contextmanager
    def _span(self, event: str, given: Raw) -> "Iterator[str | None]":
        """Start a span and make it current; yields its traceparent if the client sent a valid one."""
        kind = self._api.SpanKind.SERVER
        parent = self._propagator.extract({"traceparent": _text(given)}) if given else None
        is_child = parent is not None and self._api.get_current_span(parent).get_span_context().is_valid
        with self._tracer.start_as_current_span(
            event, parent, kind, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield _traceparent(span) if is_child else None
            except BaseException as error:
                self._set_attributes(span, event, error)
                raise
            self._set_attributes(span, event, None)

    def _set_attributes(self, span: "Span", event: str, error: BaseException | None) -> None:
        span.set_attribute("peersync.event", event)
        span.set_attribute("peersync.outcome", _outcome(error))
        if isinstance(error, EventError):
            span.set_attribute("peersync.code", error.code.value)
        elif error is not None:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(self._api.StatusCode.ERROR)


class _TracedDelivery:
    """A proxy for a `Delivery` that adds a traceparent to messages."""

    def __init__(self, delivery: Delivery, traceparent: str) -> None:
        self._delivery = delivery
        self._traceparent = traceparent

    def __getattr__(self, name: str) -> object:
        """Return the attribute of the wrapped delivery."""
        return getattr(self._delivery, name)

    def send(self, users: Iterable[User], event: ServerEvent, *args: Any, **options: Any) -> None:  # noqa: ANN401
        """See `Delivery`."""
        if isinstance(event, MessageReceived):
            event = TracedMessage(**msgspec.structs.asdict(event), traceparent=self._traceparent)
        self._delivery.send(users, event, *args, **options)


def make_tracing(settings: Settings) -> Tracing | None:
    """Return tracing as configured by the standard variables (`OTEL_*`); None if `TRACING` is off.

    Raises `SettingsError` if it is on but OpenTelemetry is not installed.
    """
    if settings.tracing == "off":
        return None
    try:
        return Tracing(_provider())
    except ModuleNotFoundError as error:
        what = "it must be off, or on once requirements/tracing.txt is installed"
        raise SettingsError(f"TRACING is 'on'; {what} ({error.name} is missing)") from None


def _provider() -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - as above
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    ours = Resource({"service.name": "peersync", "service.version": VERSION})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _with_traceparent(message: type[ClientEvent]) -> type[ClientEvent]:
    """Return the struct with one more member, of any type: W3C Trace Context says to ignore invalid values."""
    fields = [("traceparent", Raw, NO_TRACE)]
    made: type[Struct] = msgspec.defstruct(message.__name__, fields, bases=(message,), frozen=True, kw_only=True)
    return cast("type[ClientEvent]", made)


@contextmanager
def _propagating(ctx: Context, traceparent: str | None) -> Iterator[None]:
    """Add the traceparent to messages sent in this block. For synchronous handlers only."""
    if traceparent is None:
        yield
        return
    delivery = ctx.delivery
    ctx.delivery = cast("Delivery", _TracedDelivery(delivery, traceparent))
    try:
        yield
    finally:
        ctx.delivery = delivery


def _text(given: Raw) -> str:
    """Return the content of a JSON string without unescaping it; a valid traceparent has no escapes."""
    return bytes(given)[:LONGEST].strip(b'"').decode("ascii", errors="replace")


def _traceparent(span: "Span") -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "handled"
    return "refused" if isinstance(error, EventError) else "failed"
