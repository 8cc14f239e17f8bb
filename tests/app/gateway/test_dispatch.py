"""Handlers gone wrong, and what is answered for them."""

import asyncio

import anyio
import pytest
from structlog.testing import CapturingLogger

from app.gateway.dispatch import Dispatcher
from handlers.context import Context
from handlers.ports import State
from handlers.table import HandlerTable, merge
from schemas.errors import Error, ErrorCode
from schemas.events import ClientEvent
from stores.protocols import StoreUnreachableError
from tests.support.doubles import World

table = HandlerTable()


class Nothing(ClientEvent, frozen=True):
    """Carries nothing."""


@table.on("EXIT", needs=State.CONNECTED)
def leave(message: Nothing, ctx: Context) -> None:
    raise SystemExit(1)


@table.on("EXIT_LATER", needs=State.CONNECTED)
async def leave_later(message: Nothing, ctx: Context) -> None:
    raise SystemExit(1)


@table.on("HANG", needs=State.CONNECTED)
async def hang(message: Nothing, ctx: Context) -> None:
    await anyio.sleep_forever()


@table.on("AWAIT_WHAT_IS_CANCELLED", needs=State.CONNECTED)
async def await_cancelled(message: Nothing, ctx: Context) -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@table.on("STORE", needs=State.CONNECTED)
def ask_the_store(message: Nothing, ctx: Context) -> None:
    raise StoreUnreachableError("away")


class Harness:
    """A dispatcher that waits for no handler, and a socket."""

    def __init__(self, patience: float = 0) -> None:
        self.log = CapturingLogger()
        self.dispatcher = Dispatcher(merge([table]), self.log, patience=patience)
        self.seat = World().open()

    async def dispatch(self, event: str) -> list[object]:
        work = self.dispatcher.dispatch(b'{"event":"%s"}' % event.encode(), self.seat)
        if work is not None:
            await work
        return [sent.code for sent in self.seat.socket.sent if isinstance(sent, Error)]


@pytest.mark.parametrize("event", ["EXIT", "EXIT_LATER", "HANG", "AWAIT_WHAT_IS_CANCELLED"])
async def test_internal_error(event: str) -> None:
    """A handler that exits, hangs or awaits what is cancelled is answered ERR_9001, logged and counted."""
    harness = Harness()
    assert await harness.dispatch(event) == [ErrorCode.INTERNAL]
    assert [call.method_name for call in harness.log.calls] == ["exception"]
    assert sum(row.failed for row in harness.dispatcher.rows) == 1


async def test_the_end_of_all() -> None:
    """When the application ends, a handler that is awaited ends with it, without an answer."""
    harness = Harness(patience=60)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(harness.dispatch, "HANG")
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert harness.seat.socket.sent == []


async def test_a_stranger_pays_nothing_for_a_store_that_is_away() -> None:
    """Who cannot authenticate for want of the store may try again and again; others have a budget to do so."""
    harness = Harness()
    assert await harness.dispatch("STORE") == [ErrorCode.STORE_UNREACHABLE]
    assert harness.seat.socket.charged == -1
    harness.seat = await World().join("ann")
    assert await harness.dispatch("STORE") == [ErrorCode.STORE_UNREACHABLE]
    assert harness.seat.socket.charged == 0
