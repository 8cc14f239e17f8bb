"""The handler table."""

from typing import Any

import pytest

from handlers.context import Context
from handlers.events import heartbeat
from handlers.ports import State
from handlers.table import HandlerTable, TableError, merge
from schemas.auth import Ping, Pong
from tests.support.doubles import ANN, BOB, World


def ping(message: Ping, ctx: Context) -> None:
    pass


async def wait(message: "Ping", ctx: Context) -> Pong | None:
    return None


def bare(message, ctx):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - what is tested
    pass


def wrong(message: int, ctx: Context) -> None:
    pass


def server_event(message: Pong, ctx: Context) -> None:
    pass


def empty() -> None:
    pass


def test_rows() -> None:
    """A row knows its struct, the state it needs, and whether to await; the function stays as it was."""
    table = HandlerTable()
    assert table.on("A")(ping) is ping
    assert table.on("B", needs=State.AUTHENTICATED)(wait) is wait
    rows = merge([table, heartbeat.table])
    assert list(rows) == ["A", "B", "PING"]
    assert [(row.message, row.needs, row.is_async) for row in rows.values()] == [
        (Ping, State.REGISTERED, False),
        (Ping, State.AUTHENTICATED, True),
        (Ping, State.AUTHENTICATED, False),
    ]
    assert rows["A"].call is ping


@pytest.mark.parametrize("function", [bare, wrong, server_event, empty])
def test_missing_annotation(function: Any) -> None:
    """A handler whose first parameter is not annotated with a client event is named and refused."""
    table = HandlerTable()
    table.on("X")(function)
    with pytest.raises(TableError, match=rf"{function.__name__}.*X"):
        table.routes()


def test_unresolved_annotation() -> None:
    """A handler whose annotations cannot be resolved is refused like one that has none."""

    def lost(message: "Nowhere", ctx: Context) -> None:  # type: ignore[name-defined]  # noqa: F821 - what is tested
        pass

    table = HandlerTable()
    table.on("X")(lost)
    with pytest.raises(TableError, match="lost"):
        table.routes()


def test_two_handlers() -> None:
    """Two handlers of an event are refused by name, whether in one table or two."""
    one, two = HandlerTable(), HandlerTable()
    one.on("A")(ping)
    two.on("A")(wait)
    with pytest.raises(TableError, match=r"^A has two handlers: .*\.ping and .*\.wait$"):
        merge([one, two])
    one.on("A")(wait)
    with pytest.raises(TableError, match="two handlers"):
        merge([one])


async def test_context() -> None:
    """A context knows its user, and sends in its name."""
    world = World()
    seat = await world.join("ann")
    assert seat.user == ANN
    pong = Pong(timestamp=1)
    seat.send(BOB, pong)
    assert world.delivery.calls == [("send", BOB, pong, ANN)]
