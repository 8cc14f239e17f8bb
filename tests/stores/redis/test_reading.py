"""An org that is read page by page, while others change it, is in the end as it is in the store."""

import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import anyio
import msgspec
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from schemas.peers import Profile
from stores.base import Holder, Peer, Request, Session, User
from stores.bus import Home, Watcher
from stores.redis import refill, replica
from stores.redis.changes import Change, changes_of
from stores.redis.reading import Reading
from stores.redis.rows import home_row, json, row
from stores.redis.stores import RedisStores
from tests.support.client import until
from tests.support.redis import RedisServer, redis_server
from tests.support.server import free_port
from tests.support.stores import running

State = dict[tuple[str, str], bytes]

ORG = "acme"
NAMES = ["ann", "bob", "cat"]
KINDS = ["peer", "gone", "home", "left", "request", "taken", "session", "ended"]
PATIENCE = 0.05
CALM = 20.0


def person(name: str, title: str) -> Peer:
    return Peer(User(name, ORG), Profile(display_name=title, role="guest", ide="vim"), "online", b"a")


class Org:
    """What the store has of an org, and what it tells, as the scripts do."""

    def __init__(self) -> None:
        self.states: list[State] = [{}]
        self.told: list[Change] = []

    def change(self, kind: str, name: str) -> None:
        """Change a record, and tell of it."""
        state, version = dict(self.states[-1]), len(self.states)
        about = self._made(kind, name, state, version)
        told = b'[["%b","node",%b,%d,%b]]' % (kind.encode(), json(ORG), version, b",".join(about))
        (change,) = changes_of(told)
        assert isinstance(change, Change)
        self.told.append(change)
        self.states.append(state)

    def _made(self, kind: str, name: str, state: State, version: int) -> list[bytes]:
        match kind:
            case "peer":
                place = state.setdefault(("places", name), b"%d" % version)
                peer = state["peers", name] = row(person(name, f"{name} {version}"))
                return [place, peer]
            case "gone":
                for table in ("peers", "places"):
                    state.pop((table, name), None)
            case "home":
                state["homes", name] = home_row(Home("node", version, version))
                return [json(name), json("node"), b"%d" % version, b"%d" % version]
            case "left":
                state.pop(("homes", name), None)
            case "request":
                request = state["requests", name] = row(Request(name, User(name, ORG), User("dan", ORG), version))
                return [request]
            case "session":
                session = state["sessions", name] = row(Session(name, User(name, ORG), {User(f"{version}"): "guest"}))
                return [session]
            case _:
                state.pop(("requests" if kind == "taken" else "sessions", name), None)
        return [json(name)]


def read(state: State) -> Reading:
    """Return what a reading at one moment would have."""
    reading = Reading(ORG)
    for (table, name), value in state.items():
        reading.put(table, {name.encode(): value})
    return reading


def seen(reading: Reading) -> list[object]:
    places = {name: place for name, place in reading.places.items() if name in reading.peers}
    return [reading.peers, places, reading.homes, reading.requests, reading.sessions]


@given(st.data())
def test_pages_of_different_times(data: st.DataObject) -> None:
    """Each record may be read at another moment, or missed if it came or went meanwhile: all is as it is at the end."""
    org = Org()
    for kind, name in data.draw(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(NAMES)), max_size=30)):
        org.change(kind, name)
    since, until = sorted(data.draw(st.lists(st.integers(0, len(org.told)), min_size=2, max_size=2)))
    reading = Reading(ORG)
    for table, name in {key for state in org.states for key in state}:
        value = org.states[data.draw(st.integers(since, until))].get((table, name))
        if value is not None:
            reading.put(table, {name.encode(): value})
    early = data.draw(st.integers(0, since))
    for change in org.told[early:]:
        reading.hear(change)
    assert anyio.run(reading.settle, since, until, PATIENCE)
    assert reading.version == len(org.told)
    assert seen(reading) == seen(read(org.states[-1]))


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
async def test_a_change_that_was_not_told(missing: int) -> None:
    """An org is not taken for read if a change is missing, be it the first, the last, or one that came later."""
    org, reading = Org(), Reading(ORG)
    for name in ("ann", "bob", "cat", "dan", "eve"):
        org.change("peer", name)
    for change in org.told:
        if change.version != missing + 1:
            reading.hear(change)
    assert await reading.settle(0, 3, PATIENCE) is False


async def test_waits_for_what_is_on_its_way() -> None:
    """A change that the store has done may be told a little later."""
    org, reading = Org(), Reading(ORG)
    for name in ("ann", "bob"):
        org.change("peer", name)
    async with anyio.create_task_group() as tasks:

        async def tell() -> None:
            for change in org.told:
                await checkpoint()
                reading.hear(change)

        tasks.start_soon(tell)
        assert await reading.settle(0, 2, CALM)
    assert seen(reading) == seen(read(org.states[-1]))


class Minder(Watcher):
    """Sees that no home goes back in time."""

    def __init__(self) -> None:
        self.changes = 0

    def home_changed(self, user: User, before: Home | None, after: Home) -> None:
        assert before is None or before.fence < after.fence
        self.changes += 1


@pytest.fixture
def paged(redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """A Redis of its own, in which also small hashes have pages, of about two fields."""
    monkeypatch.setattr(replica, "READ_AT_ONCE", 2)
    assert redis.port
    with redis_server(free_port(), tmp_path) as server:
        yield server


def known(stores: RedisStores) -> list[object]:
    """Return all that a node knows of the org, in order."""
    directory = stores.directory
    peers = [(directory.place(peer.user), peer) for peer in directory.listed(ORG)]
    homes = {user: home for user, home in stores.replica.homes() if user.org == ORG}
    return [peers, homes, directory.requests, directory.sessions]


async def leave(stores: RedisStores, user: User) -> None:
    """Have nobody hold a user, and nothing be kept for it."""
    home = stores.bus.home(user)
    if home is not None:
        await stores.peers.release(user, Holder(home.node, home.socket))
        stores.bus.forget(user)


async def change_something(stores: RedisStores, dice: random.Random, number: int) -> None:
    """Make a change of any kind, to one of fifty users."""
    user, other = (User(f"user {dice.randrange(50)}", ORG) for _ in range(2))
    holder = Holder(stores.bus.node, number)
    session = dice.choice(list(stores.directory.sessions.values()) or [Session("none", user, {})])
    acts: list[Callable[[], Awaitable[object]]] = [
        lambda: stores.peers.claim(user, holder),
        lambda: leave(stores, user),
        lambda: stores.peers.put(person(user.id, f"now {number}")),
        lambda: stores.peers.remove(user),
        lambda: stores.requests.add(Request(f"req {number}", user, other, number)),
        lambda: stores.requests.take(f"req {number - 10}"),
        lambda: stores.sessions.put(Session(f"ses {number}", user, {user: "host", other: "guest"})),
        lambda: stores.sessions.swap(session, Session(session.id, session.host, {session.host: "host"})),
        lambda: stores.sessions.swap(session, None),
    ]
    await dice.choice(acts)()


@pytest.mark.parametrize("seed", range(12))
async def test_while_others_change_it(paged: RedisServer, seed: int) -> None:
    """A node that reads an org over and over, while others change it, comes to know just what is in the store."""
    url, minder = paged.namespace(uuid4().hex), Minder()
    async with running(url, "writer") as writer, running(url, "reader") as reader:
        await reader.client.redis.config_set("hash-max-listpack-entries", 0)
        reader.bus.watcher = minder
        dice = random.Random(seed)
        for number in range(100):
            await change_something(writer, dice, number)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reread, reader)
            for number in range(100, 500):
                await change_something(writer, dice, number)
            tasks.cancel_scope.cancel()
        await until(lambda: reader.replica.is_right and known(reader) == known(writer))
        async with running(url, "fresh") as fresh:
            assert known(fresh) == known(reader)
        assert reader.replica.standing.reads > 5
        assert minder.changes > 0


async def reread(stores: RedisStores) -> None:
    """Have a node read the org again and again."""
    while True:
        stores.replica._doubt(ORG)
        await anyio.sleep(0.002)


class Postman(Watcher):
    """Who hears of parcels."""

    def __init__(self) -> None:
        self.parcels: list[object] = []
        self.came = anyio.Event()

    def arrived(self, node: str, parcels: msgspec.Raw) -> None:
        self.parcels += msgspec.msgpack.decode(parcels)
        self.came.set()


async def test_parcels_wait(redis: RedisServer) -> None:
    """What another node sends is taken in only when all is known that it knew, whatever had to be read anew."""
    url, postman = redis.namespace(uuid4().hex), Postman()
    async with running(url, "sender") as sender, running(url, "receiver") as receiver:
        receiver.bus.watcher = postman
        receiver.replica._doubtful.add(ORG)
        sender.bus.post("receiver", "a parcel", 8)
        await until(lambda: bool(receiver._early))
        assert postman.parcels == []
        receiver.replica._doubt(ORG)
        with anyio.fail_after(CALM):
            await postman.came.wait()
        assert postman.parcels == ["a parcel"]


async def test_reading_what_is_being_restored(paged: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that starts while another fills an emptied store again comes to know all of it."""
    monkeypatch.setattr(refill, "WRITTEN_AT_ONCE", 1)
    url = paged.namespace(uuid4().hex)
    async with running(url, "old") as old:
        dice = random.Random(1)
        for number in range(200):
            await change_something(old, dice, number)
        before = known(old)
        paged.restart()
        async with running(url, "new") as new:
            await until(lambda: new.replica.is_right and known(new) == before)
        await until(lambda: old.replica.is_right)
        assert known(old) == before


async def test_homes_are_forgotten(redis: RedisServer) -> None:
    """Who leaves, and has nothing kept for it, has no home on any node; one who came back meanwhile keeps it."""
    url, ann, bob = redis.namespace(uuid4().hex), User("ann", ORG), User("bob", ORG)
    async with running(url, "one") as one, running(url, "two") as two:
        for user in (ann, bob):
            await one.peers.claim(user, Holder("one", 1))
        await leave(one, ann)
        one.bus.forget(bob)
        await one.peers.claim(User("cat", ORG), Holder("one", 2))
        for node in (one, two):
            await until(lambda node=node: {user.id for user, _ in node.replica.homes()} == {"bob", "cat"})  # type: ignore[misc]


# IMPORT
