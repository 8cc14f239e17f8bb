"""Out-of-tree handlers, and what happens when a handler or a store fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import client, pair
from tests.support.server import Server, serving
from tests.support.tokens import Keys

BROKEN = '''
"""Handlers gone wrong."""

from typing import ClassVar

from handlers.context import Context
from handlers.table import HandlerTable
from schemas.events import ClientEvent, ServerEvent
from stores.protocols import StoreUnreachableError

table = HandlerTable()


class Nothing(ClientEvent, frozen=True):
    """Carries nothing."""


@table.on("RAISE")
def raise_it(message: Nothing, ctx: Context) -> None:
    raise KeyError("a secret of the inside")


@table.on("RAISE_LATER")
async def raise_later(message: Nothing, ctx: Context) -> None:
    raise KeyError("a secret of the inside")


class Unsendable(ServerEvent, frozen=True):
    """Carries what is no JSON."""

    event: ClassVar[str] = "UNSENDABLE"
    value: object


@table.on("ANSWER")
def answer(message: Nothing, ctx: Context) -> Unsendable:
    return Unsendable(value=object())


@table.on("ANSWER_LATER")
async def answer_later(message: Nothing, ctx: Context) -> Unsendable:
    return Unsendable(value="\\ud83d")


@table.on("STORE")
async def store(message: Nothing, ctx: Context) -> None:
    raise StoreUnreachableError("connection refused")
'''


@pytest.fixture(scope="module")
def plugged(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with the plugin of the docs and a broken one, which lies in its working directory."""
    folder: Path = tmp_path_factory.mktemp("plugged")
    (folder / "broken.py").write_text(BROKEN)
    with serving(keys, folder, plugins="docs.examples.shout, broken") as server:
        yield server


async def test_example_plugin(plugged: Server) -> None:
    """The plugin of the docs adds an event from one file."""
    async with client(plugged) as ann, client(plugged) as bob:
        session_id = await pair(ann, bob)
        await ann.send("SHOUT", sessionId=session_id, text="hello")
        assert await bob.until("SHOUTED") == {"sessionId": session_id, "by": "ann", "text": "HELLO"}
        await ann.send("SHOUT", sessionId=session_id, text=5)
        error = await ann.until("ERROR")
        assert (error["code"], "text" in error["message"]) == ("ERR_9003", True)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ("RAISE", "ERR_9001"),
        ("RAISE_LATER", "ERR_9001"),
        ("ANSWER", "ERR_9001"),
        ("ANSWER_LATER", "ERR_9001"),
        ("STORE", "ERR_9002"),
    ],
)
async def test_broken_handler(event: str, code: str, plugged: Server) -> None:
    """What a handler did not foresee is answered with fixed text, and the socket goes on."""
    async with client(plugged) as ann:
        await ann.join("cid")
        await ann.send(event)
        error = await ann.until("ERROR")
        assert error["code"] == code
        assert "secret" not in error["message"]
        assert await ann.is_heard()
    log = plugged.log.read_text()
    assert ("a secret of the inside" in log) or not event.startswith("RAISE")
    assert '"event_name": "RAISE"' in log or event != "RAISE"
