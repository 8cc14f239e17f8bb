"""What a peer in a terminal keeps over a lost connection, alone and between a real server and another peer."""

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from app.cli.peer_resume import CATCH_UP, HANDLED_AT_ONCE, Resumption
from schemas.auth import AuthSuccess
from schemas.auth import Resumption as Granted
from tests.app.cli.test_peer import running
from tests.support.proxy import proxy
from tests.support.server import Server, serving
from tests.support.tokens import Keys


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def resumption(watch: Watch) -> Resumption:
    """That of a peer whose first connection was granted the token `res_1`."""
    resumption = Resumption({"name": "test"}, watch)
    assert resumption.entered(success("res_1")) is None
    return resumption


def success(token: str | None, *, recovered: bool = False) -> AuthSuccess:
    granted = Granted(token=token, grace_seconds=120) if token else None
    return AuthSuccess(user_id="ann", display_name="Ann", resume=granted, recovered=recovered if token else None)


def hello(resumption: Resumption) -> dict[str, object]:
    data: dict[str, object] = json.loads(resumption.hello("token"))["data"]
    return data


def test_the_first_hello() -> None:
    """It asks for every capability, and for nothing to be resumed."""
    data = hello(Resumption({"name": "test"}, Watch()))
    assert data == {
        "token": "token",
        "capabilities": ["resume", "acks", "sessions", "notices", "trace"],
        "client": {"name": "test"},
    }


def test_a_return(resumption: Resumption, watch: Watch) -> None:
    """It resumes from the last event handled, with the latest token; what came twice is taken once."""
    assert [resumption.takes(offset) for offset in (1, 2, None, 2, 3)] == [True, True, True, False, True]
    resumption.lost()
    watch.time = 2.5
    assert hello(resumption)["resume"] == {"token": "res_1", "offset": 3}
    assert resumption.entered(success("res_2", recovered=True)) is None
    assert resumption.takes(4)
    assert json.loads(resumption.ping(CATCH_UP)) == {"event": "PING", "data": {"offset": 4}, "ref": CATCH_UP}
    assert resumption.caught_up() == "back after 2.5 s: nothing was lost, 1 event caught up"
    resumption.lost()
    assert hello(resumption)["resume"] == {"token": "res_2", "offset": 4}


def test_a_return_that_starts_over(resumption: Resumption, watch: Watch) -> None:
    """If it cannot be resumed that is told, and offsets begin anew."""
    resumption.takes(7)
    resumption.lost()
    watch.time = 60
    told = resumption.entered(success("res_2"))
    assert told == "back after 60.0 s, but starting over: the server no longer had what was sent meanwhile"
    assert resumption.takes(1)
    assert hello(resumption)["resume"] == {"token": "res_2", "offset": 1}


def test_a_server_of_version_1(resumption: Resumption) -> None:
    """One that grants no token is asked for nothing the next time."""
    resumption.lost()
    assert resumption.entered(success(None)) is not None
    resumption.lost()
    assert "resume" not in hello(resumption)
    assert resumption.entered(success(None)) is None


def test_reports(resumption: Resumption) -> None:
    """The server is told what it can let go of, once in a while."""
    assert [offset for offset in range(1, 251) if resumption.takes(offset) and resumption.report()] == [
        HANDLED_AT_ONCE,
        2 * HANDLED_AT_ONCE,
    ]


@pytest.fixture
def alone(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that nobody else uses."""
    with serving(keys, tmp_path_factory.mktemp("peer")) as server:
        yield server


async def test_nothing_is_lost_while_the_network_is(keys: Keys, alone: Server) -> None:
    """What either side says while ann is away arrives once, and she says what she recovered."""
    port = urlsplit(alone.url).port
    assert port is not None
    async with proxy(port) as network, running(keys, alone.url, "bob") as bob:
        for line in ("signed in as bob", "you are online as bob (other)", "online: nobody else"):
            await bob.reads(line)
        async with running(keys, f"ws://127.0.0.1:{network.port}/ws", "ann") as ann:
            for line in ("signed in as ann", "you are online as ann (other)", "online: bob (other)"):
                await ann.reads(line)
            await bob.reads("ann (other) is online")
            await bob.type("/ask ann")
            await bob.reads("asking ann")
            await ann.reads("bob asks to connect: /accept or /refuse")
            await ann.type("/accept")
            await ann.reads("accepting bob")
            await ann.reads("connected with bob")
            await bob.reads("connected with ann")
            await network.cut()
            await bob.reads("ann lost the connection, and may come back (session 1: bob (host), ann (guest, away))")
            await bob.type("are you there?")
            await bob.reads("bob: are you there?")
            await bob.reads("kept for ann")
            await ann.reads("connection lost (close code 1006); reconnecting")
            await ann.type("wait for me")
            await ann.reads("ann: wait for me")
            await ann.reads("not connected: it is sent once we are back")
            network.mend()
            await ann.reads("signed in as ann")
            await ann.reads("bob: are you there?")
            await ann.reads_like(r"back after \d+\.\d s: nothing was lost, 3 events caught up")
            await ann.reads("delivered to bob")
            await bob.reads("ann is back (session 1: bob (host), ann (guest))")
            await bob.reads("ann: wait for me")
            await ann.type("/quit")
            await ann.exits(0)
        await bob.reads("the session with ann is over: left")


async def test_a_server_that_forgot(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> None:
    """After a restart of a server that keeps nothing the peer is back by itself, and says what is over."""
    with serving(keys, tmp_path_factory.mktemp("first")) as first:
        port = urlsplit(first.url).port
        assert port is not None
        async with proxy(port) as network, running(keys, f"ws://127.0.0.1:{network.port}/ws", "ann") as ann:
            for line in ("signed in as ann", "you are online as ann (other)", "online: nobody else"):
                await ann.reads(line)
            await network.cut()
            await ann.reads("connection lost (close code 1006); reconnecting")
            with serving(keys, tmp_path_factory.mktemp("second")) as second:
                network.lead_to(urlsplit(second.url).port or 0)
                network.mend()
                await ann.reads("signed in as ann")
                await ann.reads_like(r"back after \d+\.\d s, but starting over: .*")
                await ann.reads("you are online again as ann (other)")
                await ann.reads("online: nobody else")
                await ann.type("/quit")
                await ann.exits(0)
