"""The list of handler tables, and plugins."""

import sys
from pathlib import Path

import pytest

from app.settings import SettingsError
from app.tables import load_routes
from docs.examples import shout
from handlers.ports import State
from schemas.errors import ErrorCode
from tests.support.doubles import ANN, BOB, World, refused

VERSION_1 = {
    "AUTH": State.CONNECTED,
    "PING": State.AUTHENTICATED,
    "PEER_REGISTER": State.AUTHENTICATED,
    "DISCOVER_PEERS": State.REGISTERED,
    "CONNECTION_REQUEST": State.REGISTERED,
    "CONNECTION_RESPONSE": State.REGISTERED,
    "SEND_MESSAGE": State.REGISTERED,
}
PLUGIN = "a_plugin_of_the_tests"
HEAD = "from handlers.table import HandlerTable\nfrom schemas.auth import Ping\ntable = HandlerTable()\n"


def test_ours() -> None:
    """Every event of version 1 has its route, and needs the state that section 2 says."""
    routes = load_routes([])
    assert {event: routes[event].needs for event in VERSION_1} == VERSION_1


def test_plugin() -> None:
    """A plugin's events are served beside ours."""
    assert set(load_routes(["docs.examples.shout"])) == {*load_routes([]), "SHOUT"}


async def test_shout() -> None:
    """The example does what it says, and holds to sessions."""
    world = World()
    ann, bob, cat = [await world.join(token) for token in ("ann", "bob", "cat")]
    session_id = await world.pair(ann, bob)
    shout.shout(shout.Shout(session_id=session_id, text="hey"), ann)
    assert world.delivery.calls == [("send", BOB, shout.Shouted(session_id=session_id, by="ann", text="HEY"), ANN)]
    with refused(ErrorCode.NOT_A_PARTICIPANT):
        shout.shout(shout.Shout(session_id=session_id, text="hey"), cat)


@pytest.mark.parametrize("module", ["no.such.module", "handlers.nope", ".relative", "json", "handlers.ports"])
def test_no_plugin(module: str) -> None:
    """A module that is not there, or has no table, is named."""
    with pytest.raises(SettingsError, match=rf"PLUGINS.*{module}"):
        load_routes([module])


def test_twice() -> None:
    """An event that has a handler already is refused, both handlers named."""
    for plugins in (["handlers.events.heartbeat"], ["docs.examples.shout"] * 2):
        with pytest.raises(SettingsError, match=r"PLUGINS: (PING|SHOUT) has two handlers"):
            load_routes(plugins)


@pytest.mark.parametrize(
    "source",
    [
        "import nothing_of_that_name",
        "table = nothing_of_that_name",
        "def",
        HEAD + "@table.on('X')\ndef f(message, ctx): ...",
        HEAD + "@table.on('X')\ndef f(message: Ping, ctx: 'Nowhere'): ...",
        HEAD.replace("HandlerTable()", "HandlerTable"),
    ],
    ids=["import", "name", "syntax", "annotation", "unresolved", "class"],
)
def test_broken_plugin(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that cannot be loaded stops the start in one line that names PLUGINS and the module."""
    (tmp_path / f"{PLUGIN}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, PLUGIN, raising=False)
    with pytest.raises(SettingsError, match=f"PLUGINS.*{PLUGIN}") as info:
        load_routes([PLUGIN])
    assert "\n" not in str(info.value)
    sys.modules.pop(PLUGIN, None)
