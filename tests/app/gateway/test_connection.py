"""One connection, without a kernel."""

import json

import anyio

from app.compose.runtime import Runtime
from tests.app.gateway.test_notices import enter, runtime

__all__ = ["runtime"]


def frame(event: str, **data: object) -> bytes:
    return json.dumps({"event": event, "data": data}).encode()


async def test_one_end_has_one_disconnect(runtime: Runtime) -> None:
    """A reader too slow for the answers to what it pipelined behind a slow event is closed once, and leaves once."""
    connection, transport = enter(runtime, 2e9)
    connection.receive(frame("PEER_REGISTER"))
    await anyio.wait_all_tasks_blocked()
    transport.waiting = 2**30
    connection.outbox.congest()
    connection.receive(frame("PEER_STATUS", status="away"))
    for _ in range(10):
        connection.receive(frame("DISCOVER_PEERS"))
    await anyio.wait_all_tasks_blocked()
    assert transport.code == 4008
    assert runtime.gateway.closed.total() == 1


async def test_nothing_is_charged_after_an_end_for_ever(runtime: Runtime) -> None:
    """A client that goes on sending after the server has closed is soon not read any more."""
    connection, transport = enter(runtime, 2e9)
    connection.supersede()
    for _ in range(1000):
        connection.receive(frame("PING"))
    assert transport.is_deaf
