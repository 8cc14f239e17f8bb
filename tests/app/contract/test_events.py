"""The events of the contract: all of them, with what they need and what they are refused with."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, ClassVar

import msgspec
import pytest

import schemas
from app.contract.events import Event, events_of, wire_names
from app.tables import load_routes
from handlers.context import Context
from handlers.ports import State
from handlers.table import HandlerTable, Route, merge
from schemas.capabilities import CAPABILITIES, VERSION_1, VERSION_1_1
from schemas.errors import AFTER_CLOSE, MEANING, CloseCode, Error, ErrorCode
from schemas.events import ClientEvent, ServerEvent
from schemas.variants import capabilities_of

ROUTES = load_routes(["docs.examples.shout"])
EVENTS = {event.key: event for event in events_of(ROUTES)}
SENT_BY_SERVER = [event for event in EVENTS.values() if event.sender == "server"]
TURNED_INTO_ANOTHER = {
    "CONNECTION_REQUEST": {ErrorCode.SESSION_NOT_FOUND},
    "CONNECTION_RESPONSE": {ErrorCode.SESSION_NOT_FOUND},
}
RAISED_ELSEWHERE = {
    "AUTH": {ErrorCode.TOKEN_MISSING, ErrorCode.TOKEN_EXPIRED},  # by the port that verifies tokens
    "SEND_MESSAGE": {ErrorCode.LOG_FULL, ErrorCode.STORE_UNREACHABLE},  # by the log, the first not raised but sent
}


class Said(ClientEvent, frozen=True):
    field: int


class Heard(ServerEvent, frozen=True):
    event: ClassVar[str] = "SAME"


def reached(function: Callable[..., Any], seen: set[FunctionType]) -> Iterator[tuple[ast.AST, ModuleType]]:
    """Return all nodes of a handler and of the functions of `handlers` that it names, with their modules."""
    assert isinstance(function, FunctionType)
    seen.add(function)
    module = sys.modules[function.__module__]
    nodes = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))))
    local = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    local |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    for node in nodes:
        yield node, module
        target = None if isinstance(node, ast.Name) and node.id in local else named(node, module)
        if isinstance(target, FunctionType) and target not in seen and target.__module__.startswith("handlers."):
            yield from reached(target, seen)


def named(node: ast.AST, module: ModuleType) -> object:
    """Return what a name, or an attribute of an imported module, stands for."""
    if isinstance(node, ast.Name):
        return getattr(module, node.id, None)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        owner = getattr(module, node.value.id, None)
        return getattr(owner, node.attr, None) if isinstance(owner, ModuleType | type) else None
    return None


def calls(route: Route, *names: str) -> Iterator[tuple[ast.Call, ModuleType]]:
    """Return the calls of a function or method of one of these names, within reach of the handler."""
    for node, module in reached(route.call, set()):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in names:
                yield node, module


@pytest.mark.parametrize("event", load_routes(()))
def test_errors(event: str) -> None:
    """What a handler may raise is what its row declares, or what comes of its state, capability or data."""
    raised = {named(call.args[0], module) for call, module in calls(ROUTES[event], "EventError")}
    told = {*EVENTS[event].errors, *EVENTS[event].common}
    assert raised - TURNED_INTO_ANOTHER.get(event, set()) <= told
    assert set(EVENTS[event].errors) <= raised | RAISED_ELSEWHERE.get(event, set())


@pytest.mark.parametrize("event", load_routes(()))
def test_answers(event: str) -> None:
    """What a handler hands to `answer` itself is declared; an `ERROR` by its code."""
    answered = set()
    for call, module in calls(ROUTES[event], "answer"):
        built = [named(node, module) for each in call.args for node in ast.walk(each)]
        helpers = [value for value in built if isinstance(value, FunctionType)]
        built += [inspect.get_annotations(helper, eval_str=True)["return"] for helper in helpers]
        answered |= {kind.event for kind in built if isinstance(kind, type) and issubclass(kind, ServerEvent)}
    assert answered - {Error.event} <= set(EVENTS[event].answers)


def test_answers_there_are() -> None:
    """Answers are told from annotations and from the row, the others' events are not among them."""
    assert EVENTS["AUTH"].answers == ("AUTH_SUCCESS", "AUTH_FAILED")
    assert EVENTS["PING"].answers == ("PONG",)
    assert EVENTS["SEND_MESSAGE"].answers == ("MESSAGE_ACK",)
    assert EVENTS["SHOUT"].answers == ()


def test_all_are_there() -> None:
    """Every row of the table and every event struct of `schemas` is an event of the contract."""
    structs = list(subclasses(ServerEvent))
    ours = {struct.event for struct in structs if struct.__module__.startswith(f"{schemas.__name__}.")}
    assert {event.name for event in SENT_BY_SERVER} == {*ours, "SHOUTED"}
    assert {event.name for event in EVENTS.values() if event.sender == "client"} == set(ROUTES)
    assert EVENTS["MESSAGE_RECEIVED"].struct.__name__ == "TracedMessage", "the one with all fields"


def subclasses(kind: type[ServerEvent]) -> Iterator[type[ServerEvent]]:
    for each in kind.__subclasses__():
        yield each
        yield from subclasses(each)


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_descriptions(event: Event) -> None:
    """Every event has a description, whose fields are named as on the wire."""
    assert len(event.summary) > 10
    assert event.summary.endswith(".")
    assert event.summary.split()[0] in event.description
    fields = {info.name for info in msgspec.structs.fields(event.struct) if info.name != info.encode_name}
    assert not [field for field in fields if "_" in field and f"`{field}`" in event.description]


@pytest.mark.parametrize("event", SENT_BY_SERVER, ids=lambda event: event.key)
def test_capability(event: Event) -> None:
    """An event that has variants tells no socket without its capability, and every socket with it."""
    assert event.struct.example is not None or event.key == "SHOUTED"
    if issubclass(event.struct, ServerEvent) and event.struct.has_variants:
        shown = msgspec.json.decode(msgspec.json.encode(event.struct.example), type=event.struct)
        every = frozenset({VERSION_1_1, *CAPABILITIES})
        assert shown.variant(every) is not None
        assert (shown.variant(VERSION_1) is None) == (event.capability is not None)
        assert event.capability is None or shown.variant(every - {event.capability}) is None
        assert capabilities_of(event.struct) <= every


def test_conditions() -> None:
    """State and capability bring the errors of those who lack them; what awaits may miss a store."""
    leave, ping = EVENTS["SESSION_LEAVE"], EVENTS["PING"]
    assert (leave.needs, leave.capability) == (State.REGISTERED, "sessions")
    added = {ErrorCode.NOT_REGISTERED, ErrorCode.NOT_ALLOWED, ErrorCode.STORE_UNREACHABLE}
    assert set(leave.common) - set(ping.common) == added
    assert ErrorCode.NOT_AUTHENTICATED not in EVENTS["AUTH"].common


def test_meanings() -> None:
    """Every error code has its meaning, and every code that a socket can be closed with."""
    assert list(MEANING) == list(ErrorCode)
    assert set(AFTER_CLOSE) == set(CloseCode) - {CloseCode.NO_STATUS, CloseCode.ABNORMAL}


def test_plugin_that_says_nothing() -> None:
    """Names that no document may have as keys, or that both sides use, get keys of their own; docstrings may lack."""
    table = HandlerTable()

    @table.on("SAME")
    def same(message: Said, ctx: Context) -> "Heard | None": ...

    @table.on("chat:to/all é")
    def other(message: Said, ctx: Context) -> None: ...

    @table.on("chat:to/all_é")
    def another(message: Said, ctx: Context) -> None: ...

    events = {event.key: event for event in events_of(merge([table]))}
    same_names = [(key, event.sender) for key, event in events.items() if event.name == "SAME"]
    assert same_names == [("SAME", "client"), ("SAME_", "server")]
    assert {"chat_to_all__", "chat_to_all___"} <= set(events)
    assert events["SAME"].summary == events["SAME"].description == "SAME"


def test_wire_names() -> None:
    """Only fields in backticks are renamed."""
    assert wire_names("`to` and `message_id` of message_id, `MAX_BYTES`") == (
        "`to` and `messageId` of message_id, `MAX_BYTES`"
    )
