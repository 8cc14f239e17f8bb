"""What the stores in a file do beyond the contract: they come back as they were, or say what is wrong."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from schemas.peers import Profile
from stores.log import Appended, Bounds, Event, MessageKey, Outcome
from stores.model import Holder, Peer, Request, Revocation, Session, User
from stores.protocols import StoreUnreachableError
from stores.sqlite.schema import MIGRATIONS, Place, UnusableFileError, parsed
from stores.sqlite.stores import GracePeriods, SqliteStores

ANN, BOB, CAT = User("ann"), User("bob", "acme"), User("cat")
HOLDER = Holder("node", 1)
NOW = 1000.0
RESUME = frozenset({"1.1", "resume"})
ROOT = Path(__file__).parents[2]


class Socket:
    """See `Reader`."""

    def __init__(self) -> None:
        self.pending = 0
        self.taken: list[bytes] = []

    def catch_up(self, first: int, payloads: Sequence[bytes]) -> None:
        self.taken += payloads

    def take(self, offset: int, event: Event) -> None:
        self.taken.append(event.payload)

    def lost(self) -> None:
        raise AssertionError


def peer(user: User, **changes: object) -> Peer:
    made = Peer(user, Profile("Ann", "guest", "vim"), "online", b"a", holder=HOLDER)
    return replace(made, **changes)


def opened(path: Path, **others: object) -> SqliteStores:
    return SqliteStores(Place(path), graces=GracePeriods(120, 30), now=lambda: NOW, **others)  # type: ignore[arg-type]


async def come(stores: SqliteStores, user: User, token: str | None = None) -> Socket:
    """Have a user there; with a token it can resume."""
    socket = Socket()
    await stores.peers.claim(user, HOLDER)
    assert await stores.log.start(user, HOLDER, token)
    assert await stores.peers.register(peer(user, spoken=RESUME if token else frozenset()), HOLDER)
    assert await stores.log.follow(user, HOLDER, None, socket)
    return socket


async def say(stores: SqliteStores, user: User, payload: bytes, key: MessageKey | None = None) -> Appended:
    """Append an event and wait for what becomes of it."""
    told: list[Appended] = []
    done = anyio.Event()

    def take(_: User, appended: Appended) -> None:
        told.append(appended)
        done.set()

    stores.log.append([Event(user, payload, kept="if_room")], key, take)
    await done.wait()
    return told[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "peersync.db"


async def test_everything_comes_back(path: Path) -> None:
    """After a restart all is as it was; those who were there are waited for, each for its grace from then on."""
    first = opened(path)
    await come(first, ANN, "token")
    await come(first, BOB)
    await come(first, CAT)
    await first.peers.remove(CAT)
    request = Request("req_1", ANN, BOB, 5.0)
    session = Session("ses_1", ANN, {ANN: "host", BOB: "guest"})
    await first.requests.add(request)
    await first.requests.add(replace(request, id="req_2"))
    assert await first.requests.take("req_2")
    await first.sessions.put(session)
    await first.revocations.add(Revocation(NOW + 9, user=ANN, issued_before=7), NOW)
    await first.close()
    second = opened(path)
    directory = second.directory
    assert second.salt == first.salt
    assert directory.peer(ANN) == peer(ANN, spoken=RESUME, lapses_at=NOW + 120, is_resumable=True)
    assert directory.peer(BOB) == peer(BOB, status="offline", lapses_at=NOW + 30)
    assert directory.peer(CAT) is None
    assert [directory.place(ANN), directory.place(BOB)] == [1, 1]
    assert list(directory.requests_of(BOB)) == [request]
    assert list(directory.all_sessions()) == [session]
    assert list(directory.session("ses_1").participants) == [ANN, BOB]  # type: ignore[union-attr]
    assert await second.revocations.cover(ANN, None, 6, NOW)
    await second.close()


async def test_logs_come_back(path: Path) -> None:
    """A client goes on where it was, with the token it has; what it has is not there any more."""
    first = opened(path)
    socket = await come(first, ANN, "token")
    for n in range(5):
        assert (await say(first, ANN, b"%d" % n)).outcome is Outcome.DELIVERED
    assert socket.taken == [b"0", b"1", b"2", b"3", b"4"]
    first.log.trim(ANN, 2)
    await first.close()
    second = opened(path)
    await second.peers.claim(ANN, HOLDER)
    assert not await second.log.resume(ANN, HOLDER, "token", 1, "next")
    assert not await second.log.resume(ANN, HOLDER, "another", 3, "next")
    assert not await second.log.resume(ANN, HOLDER, "token", 6, "next")
    assert await second.log.resume(ANN, HOLDER, "token", 3, "next")
    again = Socket()
    assert await second.log.follow(ANN, HOLDER, 3, again)
    await say(second, ANN, b"5")
    assert again.taken == [b"3", b"4", b"5"]
    second.log.trim(ANN, 6)
    await second.close()
    third = opened(path)
    assert await third.log.count(ANN) == 0
    await third.peers.claim(ANN, HOLDER)
    assert await third.log.resume(ANN, HOLDER, "next", 6, "last")
    await third.close()


async def test_numbers_go_on(path: Path) -> None:
    """A log that was started over, or one of version 1, has its own events only."""
    first = opened(path)
    await come(first, ANN, "token")
    await say(first, ANN, b"old")
    first.log.trim(ANN, 1)
    assert await first.log.start(ANN, HOLDER, "new")
    await say(first, ANN, b"new")
    await come(first, BOB)
    await first.peers.release(BOB, HOLDER)
    assert (await say(first, BOB, b"kept")).outcome is Outcome.QUEUED
    await first.close()
    second = opened(path)
    for user, payload in ((ANN, b"new"), (BOB, b"kept")):
        socket = Socket()
        await second.peers.claim(user, HOLDER)
        assert await second.log.follow(user, HOLDER, None, socket)
        assert socket.taken == [payload]
    await second.close()


async def test_messages_are_recognised(path: Path) -> None:
    """A message that is sent again after a restart is not kept again; who had no room for it then may have now."""
    key, full_key = MessageKey(b"s" * 8, b"1" * 8, 1000), MessageKey(b"s" * 8, b"2" * 8, 1001)
    first = opened(path, bounds=Bounds(events=1))
    await come(first, ANN, "token")
    await come(first, BOB, "token")
    for user in (ANN, BOB):
        await first.peers.release(user, HOLDER)
    assert (await say(first, ANN, b"x", key)).outcome is Outcome.QUEUED
    first.log.append([Event(user, b"y", kept="if_room") for user in (ANN, BOB)], full_key)
    await first.close()
    second = opened(path)
    assert await say(second, ANN, b"x", key) == Appended(Outcome.QUEUED, 1000)
    assert await say(second, ANN, b"y", full_key) == Appended(Outcome.QUEUED)
    assert await say(second, BOB, b"y", full_key) == Appended(Outcome.QUEUED, 1001)
    assert [await second.log.count(user) for user in (ANN, BOB)] == [2, 1]
    await second.close()


async def test_messages_are_recognised_for_each_receiver(path: Path) -> None:
    """A message that is sent again after a restart reaches those who were not among its receivers before."""
    key = MessageKey(b"s" * 8, b"1" * 8, 1000)
    first = opened(path)
    await come(first, ANN)
    await come(first, BOB, "token")
    assert (await say(first, ANN, b"x", key)).outcome is Outcome.DELIVERED
    await first.close()
    second = opened(path)
    assert await say(second, ANN, b"x", key) == Appended(Outcome.QUEUED, 1000)
    assert await say(second, BOB, b"x", key) == Appended(Outcome.QUEUED)
    await second.close()
    third = opened(path)
    assert await say(third, BOB, b"x", key) == Appended(Outcome.QUEUED, 1000)
    assert [await third.log.count(user) for user in (ANN, BOB)] == [0, 1]
    await third.close()


async def test_what_version_1_was_handed_is_not_handed_out_again(path: Path) -> None:
    """... though the node is killed as soon as it was."""
    first = opened(path)
    await come(first, ANN)
    await first.peers.release(ANN, HOLDER)
    await say(first, ANN, b"x")
    assert (await come(first, ANN)).taken == [b"x"]
    first._journal.end()
    first._lock.close()
    second = opened(path)
    assert (await come(second, ANN)).taken == []
    await second.close()


async def test_a_log_of_nobody_goes(path: Path) -> None:
    """Who never registered cannot be waited for; its log does not come back."""
    first = opened(path)
    await first.peers.claim(ANN, HOLDER)
    assert await first.log.start(ANN, HOLDER, "token")
    await first.close()
    second = opened(path)
    assert second.log.stats()["logs"] == 0
    await second.close()
    assert _asked(path, "SELECT count(*) FROM logs") == 0


async def test_old_keys_and_trimmed_events_go(path: Path) -> None:
    """What is not needed any more leaves the file."""
    stores = opened(path)
    await come(stores, ANN, "token")
    for n in range(3):
        await say(stores, ANN, b"x", MessageKey(b"s" * 8, bytes(7) + bytes([n]), 1000 + n * 200_000))
    stores.log.trim(ANN, 2)
    await stores.close()
    assert _asked(path, "SELECT count(*) FROM keys") == 2
    assert _asked(path, "SELECT count(*) FROM events") == 1


async def test_old_keys_go_where_nothing_is_trimmed(path: Path) -> None:
    """... since all receivers are of version 1, for whom nothing is kept."""
    stores = opened(path)
    await come(stores, ANN)
    for n in range(5):
        await say(stores, ANN, b"x", MessageKey(b"s" * 8, bytes(7) + bytes([n]), 1000 + n * 200_000))
    await stores.close()
    assert _asked(path, "SELECT count(*) FROM keys") == 2


def _asked(path: Path, question: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question).fetchone()[0]


@pytest.mark.parametrize(
    ("breaking", "mending", "reason"),
    [
        ("PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000", "full"),
        ("PRAGMA query_only = ON", "PRAGMA query_only = OFF", "readonly"),
    ],
)
async def test_a_disk_that_fails(path: Path, breaking: str, mending: str, reason: str) -> None:
    """Nothing is acknowledged meanwhile, whoever asks is told, and all of it is there once the disk works again."""
    stores = opened(path)
    connection = stores._journal._writer._connection
    socket = await come(stores, ANN, "token")
    assert (await say(stores, ANN, b"before")).outcome is Outcome.DELIVERED
    connection.execute(breaking)
    told: list[Appended] = []
    for n in range(2):
        stores.log.append([Event(ANN, b"%d" % n * 10_000)], None, lambda _, appended: told.append(appended))
    with pytest.raises(StoreUnreachableError, match=f"cannot be written to .*{reason}"):
        await stores.sessions.put(Session("ses_1", ANN, {ANN: "host"}))
    with pytest.raises(StoreUnreachableError, match=reason):
        stores.log.append([Event(ANN, b"refused")])
    with pytest.raises(StoreUnreachableError, match=reason):
        await stores.ping()
    assert (told, len(socket.taken)) == ([], 1)
    connection.execute(mending)
    with anyio.fail_after(2):
        while len(told) < 2:  # noqa: ASYNC110 - a thread brings it about
            await anyio.sleep(0.01)
    await stores.ping()
    assert [payload[:1] for payload in socket.taken] == [b"b", b"0", b"1"]
    await stores.close()
    again = opened(path)
    assert await again.log.count(ANN) == 3
    assert again.directory.session("ses_1") is not None
    await again.close()


async def test_what_waits_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is too slow for what comes has the rest refused."""
    monkeypatch.setattr("stores.sqlite.journal.MOST_WAITING", 10_000)
    stores = opened(path)
    await come(stores, ANN, "token")
    stores.log.append([Event(ANN, bytes(1000)) for _ in range(10)])
    with pytest.raises(StoreUnreachableError, match="too much waits"):
        stores.log.append([Event(ANN, b"one more")])
    await stores.close()


async def test_a_disk_that_hangs(path: Path) -> None:
    """It makes the server unready, and a change that waits for it fails."""
    stores = opened(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnreachableError):
            await stores.requests.add(Request("req_1", ANN, BOB, 5.0))
        with pytest.raises(StoreUnreachableError):
            await stores.ping()
        other.execute("ROLLBACK")
    await stores.close()
    assert _asked(path, "SELECT count(*) FROM records") == 1


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


def _alter(statement: str, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(statement)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.write_bytes(b"no database at all" * 1000), "is damaged"),
        (_damage, "is damaged"),
        (partial(_alter, "INSERT INTO records VALUES (1, 'peer', 'x', 1, x'00')"), "is damaged"),
        (partial(_alter, f"PRAGMA user_version = {len(MIGRATIONS) + 1}"), "was written by a newer server"),
        (partial(_alter, "PRAGMA application_id = 1"), "is a database of something else"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be written to"),
    ],
)
async def test_files_that_cannot_be_used(path: Path, spoil: Callable[[Path], object], says: str) -> None:
    """They stop the start, with one line that says what to do; and again, since nothing is held."""
    await opened(path).close()
    spoil(path)
    for _ in range(2):
        with pytest.raises(UnusableFileError, match=says) as refused:
            opened(path)
        assert "\n" not in str(refused.value)
        assert str(path) in str(refused.value)


async def test_a_disk_that_fails_at_the_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for a damaged file, which somebody would move away."""
    await opened(path).close()

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStores, "_load_logs", fail)
        with pytest.raises(UnusableFileError, match=r"cannot be written to \(disk I/O error\)"):
            opened(path)
    stores = opened(path)
    assert stores._journal._writer._connection.execute("PRAGMA temp_store").fetchone() == (2,)
    await stores.close()


async def test_one_process(path: Path) -> None:
    """A second one is refused."""
    stores = opened(path)
    with pytest.raises(UnusableFileError, match="is used by another process"):
        opened(path)
    link = path.with_name("link.db")
    link.symlink_to(path)
    with pytest.raises(UnusableFileError, match="is used by another process"):
        opened(link)
    await stores.close()
    await opened(link).close()


async def test_others_cannot_read_it(path: Path) -> None:
    """The file, and what is beside it, are their owner's."""
    stores = opened(path)
    await come(stores, ANN, "token")
    assert {each.stat().st_mode & 0o077 for each in path.parent.iterdir()} == {0}
    await stores.close()


async def test_a_backup_while_it_runs(path: Path) -> None:
    """VACUUM INTO makes one that a server can start with."""
    stores = opened(path)
    await come(stores, ANN, "token")
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    await stores.close()
    restored = opened(copy)
    assert restored.directory.peer(ANN) is not None
    await restored.close()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("sqlite:///data/peersync.db", Place(Path("data/peersync.db"))),
        ("sqlite:////var/lib/a%20b.db", Place(Path("/var/lib/a b.db"))),
        ("sqlite:////x.db?sync=full", Place(Path("/x.db"), is_full=True)),
        ("sqlite:////x.db?sync=normal", Place(Path("/x.db"))),
    ],
)
def test_urls(url: str, place: Place) -> None:
    """A URL has a path, relative after three slashes and absolute after four."""
    assert parsed(url) == place


@pytest.mark.parametrize(("query", "synchronous"), [("", 1), ("?sync=normal", 1), ("?sync=full", 2)])
async def test_sync(path: Path, query: str, synchronous: int) -> None:
    """With sync=full SQLite is told to wait for the disk at each commit, which a copy of the file does not show."""
    stores = SqliteStores(parsed(f"sqlite:///{path}{query}"))
    assert stores._journal._writer._connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)
    await stores.close()


@pytest.mark.parametrize("url", ["sqlite://x.db", "sqlite:///", "sqlite:///a/", "sqlite:///a?x=1", "sqlite:///a#b"])
def test_bad_urls(url: str) -> None:
    """Whatever else it says is refused."""
    with pytest.raises(ValueError, match=r"sync=|named as in"):
        parsed(url)
