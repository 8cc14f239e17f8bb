"""Tracing: spans of handlers, and the trace that goes with a message."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from app.main import create_app
from app.ops.tracing import Tracing, make_tracing
from app.settings import Settings, SettingsError
from app.tables import load_routes
from handlers.context import Context
from handlers.table import HandlerTable, Route
from schemas.errors import ErrorCode
from schemas.events import ClientEvent
from schemas.messages import MessageReceived, TracedMessage
from tests.support.doubles import BOB, Seat, World, refused
from tests.support.server import ROOT
from tests.support.tokens import Keys

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{SPAN}-01"


class Traced:
    """The handler table, traced, and the spans of what was called."""

    def __init__(self, routes: Mapping[str, Route] | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(provider)
        self._routes = self.tracing.traced(routes or load_routes(()))

    def call(self, event: str, seat: Seat, **data: object) -> Any:
        """Call the handler of an event as dispatch does."""
        route = self._routes[event]
        return route.call(msgspec.json.decode(msgspec.json.encode(data), type=route.message), seat)

    @property
    def spans(self) -> list[tuple[str, dict[str, Any]]]:
        """Names and attributes."""
        return [(span.name, dict(span.attributes or {})) for span in self._exporter.get_finished_spans()]

    @property
    def last(self) -> Any:
        """The last span."""
        return self._exporter.get_finished_spans()[-1]


@pytest.fixture
def world() -> World:
    return World()


async def pair(world: World) -> tuple[Seat, str]:
    """Bring ann and bob into a session; return ann's seat and the session's id."""
    ann, bob = await world.join("ann"), await world.join("bob", capabilities=["trace", "sessions"])
    return ann, await world.pair(ann, bob)


async def test_a_message(world: World) -> None:
    """The receiver gets the trace with our span in it; the span is a child of the sender's, and has no content."""
    traced, (ann, session_id) = Traced(), await pair(world)
    traced.call("SEND_MESSAGE", ann, sessionId=session_id, content="a secret", traceparent=GIVEN)
    (message,) = world.delivery.to(BOB)
    assert isinstance(message, TracedMessage)
    span = traced.last
    assert (span.parent.trace_id, span.parent.span_id) == (int(TRACE, 16), int(SPAN, 16))
    assert message.traceparent == f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert traced.spans == [("SEND_MESSAGE", {"peersync.event": "SEND_MESSAGE", "peersync.outcome": "handled"})]
    assert span.kind is SpanKind.SERVER
    assert ann.delivery is world.delivery


async def test_an_addressed_message(world: World) -> None:
    """What else a message carries stays."""
    traced, (ann, session_id) = Traced(), await pair(world)
    traced.call("SEND_MESSAGE", ann, sessionId=session_id, content=1, to=["bob"], type="t", traceparent=GIVEN)
    (message,) = world.delivery.to(BOB)
    assert isinstance(message, TracedMessage)
    assert (message.to, message.type) == (["bob"], "t")
    assert message.traceparent is not None


@pytest.mark.parametrize("spoken", [(), ("1.1",), ("1.1", "acks", "sessions", "resume", "notices")])
async def test_who_did_not_ask(spoken: tuple[str, ...], world: World) -> None:
    """To receivers without the capability the frame is the same, byte for byte, as one without a trace."""
    traced, (ann, session_id) = Traced(), await pair(world)
    for data in ({"traceparent": GIVEN}, {}):
        traced.call("SEND_MESSAGE", ann, sessionId=session_id, content={"a": 1}, type="t", **data)
    with_trace, without = (each for each in world.delivery.to(BOB) if isinstance(each, MessageReceived))
    assert type(without) is MessageReceived
    shown = with_trace.variant(frozenset(spoken))
    assert shown is not None
    assert msgspec.json.encode(shown) == msgspec.json.encode(without)


GOOD_FOR_NOTHING = [None, 5, {"a": 1}, "", "x", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01", GIVEN * 9, "ü"]


@pytest.mark.parametrize("given", GOOD_FOR_NOTHING, ids=lambda given: f"{given!r:.20}")
async def test_no_traceparent(given: object, world: World) -> None:
    """One that is none is ignored: the message goes without, and the span begins a trace of its own."""
    traced, (ann, session_id) = Traced(), await pair(world)
    traced.call("SEND_MESSAGE", ann, sessionId=session_id, content="x", traceparent=given)
    (message,) = world.delivery.to(BOB)
    assert type(message) is MessageReceived
    assert traced.last.parent is None


async def test_a_refusal(world: World) -> None:
    """A refused event is told by its code; that is no error of ours."""
    traced, ann = Traced(), await world.join("ann")
    with refused(ErrorCode.SESSION_NOT_FOUND):
        traced.call("SEND_MESSAGE", ann, sessionId="a secret", content="a secret", traceparent=GIVEN)
    with refused(ErrorCode.REQUEST_NOT_FOUND):
        await traced.call("CONNECTION_RESPONSE", ann, requestId="a secret", accepted=True)
    assert [attributes for _, attributes in traced.spans] == [
        {"peersync.event": "SEND_MESSAGE", "peersync.outcome": "refused", "peersync.code": "ERR_3001"},
        {"peersync.event": "CONNECTION_RESPONSE", "peersync.outcome": "refused", "peersync.code": "ERR_6001"},
    ]
    assert traced.last.status.status_code is StatusCode.UNSET
    assert ann.delivery is world.delivery


async def test_a_failure(world: World) -> None:
    """A handler that raises anything else has failed; of the exception its type is told, not its text."""
    table = HandlerTable()

    @table.on("BOOM")
    def boom(message: ClientEvent, ctx: Context) -> None:
        raise KeyError("a secret")

    traced, ann = Traced({"BOOM": table.routes()[0]}), await world.join("ann")
    with pytest.raises(KeyError):
        traced.call("BOOM", ann)
    assert traced.spans[0][1] == {
        "peersync.event": "BOOM",
        "peersync.outcome": "failed",
        "error.type": "KeyError",
    }
    assert traced.last.status.status_code is StatusCode.ERROR
    assert "secret" not in traced.last.to_json()


def test_off(keys: Keys) -> None:
    """Unless it is on, handlers are called as they are, and what would export spans is not even imported."""
    code = """
import sys
from app.main import create_app
create_app()
sys.exit(any(name.startswith("opentelemetry.exporter") for name in sys.modules))
"""
    environment = {**keys.environment(), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
    assert make_tracing(Settings()) is None


def test_not_installed(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OpenTelemetry is missing the start is refused, in one line."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"^TRACING is 'on'; it must be off, or on once requirements/tracing.txt"):
        create_app(Settings(jwt_public_key_path=keys.public_path, tracing="on"))
