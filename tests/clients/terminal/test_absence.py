"""What a peer in a terminal keeps over a lost connection, alone and between a real server and another peer."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from peersync.events import AuthSuccessData
from peersync_terminal.absence import Absence
from tests.clients.terminal.test_peer import running
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
def absence(watch: Watch) -> Absence:
    """That of a peer whose first connection can be resumed."""
    absence = Absence(watch)
    assert absence.returned(success()) == ""
    return absence


def success(*, recovered: bool = False, version_1: bool = False) -> AuthSuccessData:
    data: AuthSuccessData = {"userId": "ann", "displayName": "Ann"}
    return data if version_1 else {**data, "resume": {"token": "res_1", "graceSeconds": 120}, "recovered": recovered}


@pytest.mark.parametrize(
    ("count", "missed"), [(0, "nothing"), (1, "1 event, received now"), (2, "2 events, received now")]
)
def test_a_return(absence: Absence, watch: Watch, count: int, missed: str) -> None:
    """What was kept is counted, and only that."""
    absence.missed(1)
    absence.began()
    watch.time = 2.5
    assert absence.returned(success(recovered=True)) == ""
    for offset in range(2, 2 + count):
        absence.missed(offset)
        absence.missed(None)
    assert absence.ended() == f"reconnected after 2.5 s: you missed {missed}"
    assert absence.ended() == ""


def test_a_return_that_starts_over(absence: Absence, watch: Watch) -> None:
    absence.began()
    watch.time = 60
    absence.began()
    told = absence.returned(success())
    assert told == "reconnected after 60.0 s, but the server no longer had what you missed; starting over"
    assert absence.ended() == ""


def test_a_server_of_version_1() -> None:
    """One that keeps nothing has lost nothing."""
    absence = Absence(Watch())
    assert absence.returned(success(version_1=True)) == ""
    absence.began()
    assert absence.returned(success(version_1=True)) == ""


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
            await bob.reads(
                "ann lost the connection, but can still come back (session 1: bob (host), ann (guest, away))"
            )
            await bob.type("are you there?")
            await bob.reads("bob: are you there?")
            await bob.reads("kept for ann")
            await ann.reads("connection lost (close code 1006); reconnecting")
            await ann.type("wait for me")
            await ann.reads("ann: wait for me")
            await ann.reads("not connected: it will be sent after reconnecting")
            network.mend()
            await ann.reads("signed in as ann")
            await ann.reads("bob: are you there?")
            await ann.reads_like(r"reconnected after \d+\.\d s: you missed 3 events, received now")
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
                await ann.reads_like(r"reconnected after \d+\.\d s, but .*; starting over")
                await ann.reads("you are online again as ann (other)")
                await ann.reads("online: nobody else")
                await ann.type("/quit")
                await ann.exits(0)
