"""What `stores.protocols` promises, kept by every implementation of it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.peers import PeerCard, Profile
from stores.memory.stores import MemoryStores
from stores.model import Holder, Peer, Request, Revocation, Session, Sizes, User
from stores.protocols import Stores
from stores.sqlite.schema import Place
from stores.sqlite.stores import SqliteStores
from tests.support.redis import RedisServer
from tests.support.stores import running

ANN, BOB, CAT = User("ann"), User("bob"), User("cat")
FAR_ANN = User("ann", "acme")
FIRST, SECOND = Holder("node", 1), Holder("node", 2)
PROFILE = Profile(display_name="Ann", role="guest", ide="vim")
SESSION = Session(id="ses_1", host=ANN, participants={ANN: "host", BOB: "guest"})
CALLERS = 5
T = TypeVar("T")


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    """Empty stores of each kind."""
    if request.param == "memory":
        yield MemoryStores()
        return
    if request.param == "sqlite":
        written = SqliteStores(Place(tmp_path / "peersync.db"))
        yield written
        await written.close()
        return
    redis: RedisServer = request.getfixturevalue("redis")
    async with running(redis.namespace(uuid4().hex), "node") as made:
        yield made


def peer(user: User, lapses_at: float | None = None) -> Peer:
    return Peer(user=user, profile=PROFILE, status="online", address=b"a", lapses_at=lapses_at, holder=FIRST)


def named(user: User, name: str) -> Peer:
    return replace(peer(user), profile=replace(PROFILE, display_name=name))


def ask(number: int, expires_at: float, target: User = BOB) -> Request:
    return Request(id=f"req_{number}", requester=ANN, target=target, expires_at=expires_at)


async def put(stores: Stores, changed: Peer) -> None:
    """Have a peer as given, but for its holder."""
    await stores.peers.claim(changed.user, FIRST)
    assert await stores.peers.register(changed, FIRST)
    await stores.peers.release(changed.user, FIRST)


async def at_once(call: Callable[[], Awaitable[T]]) -> list[T]:
    """Return what several callers get who call at the same time."""
    results: list[T] = []

    async def one() -> None:
        results.append(await call())

    async with anyio.create_task_group() as tasks:
        for _ in range(CALLERS):
            tasks.start_soon(one)
    return results


async def test_sizes(stores: Stores) -> None:
    """What there is can be counted, peers of all orgs together."""
    assert stores.directory.sizes() == Sizes(0, 0, 0)
    for user in (User("ann"), User("ann", "acme")):
        await stores.peers.claim(user, Holder("node", 1))
        await stores.peers.register(peer(user), Holder("node", 1))
    await stores.requests.add(Request("req_1", User("ann"), User("bob"), 1.0))
    assert stores.directory.sizes() == Sizes(2, 1, 0)


async def test_everybody_and_all_sessions(stores: Stores) -> None:
    """An operator sees the peers of all orgs, of each the latest first, and the sessions, the latest first."""
    for user in (ANN, FAR_ANN, BOB):
        await put(stores, peer(user))
    await put(stores, peer(ANN, lapses_at=5))
    later = replace(SESSION, id="ses_2")
    await stores.sessions.put(SESSION)
    await stores.sessions.put(later)
    assert [each.user for each in stores.directory.everybody()] == [BOB, ANN, FAR_ANN]
    assert list(stores.directory.all_sessions()) == [later, SESSION]
    await stores.peers.remove(FAR_ANN)
    await stores.sessions.swap(later, None)
    assert [each.user for each in stores.directory.everybody()] == [BOB, ANN]
    assert list(stores.directory.all_sessions()) == [SESSION]


async def test_strays(stores: Stores) -> None:
    """Who is in a session and not registered is known, until it is out of it, or registered."""
    assert set(stores.directory.orphaned()) == set()
    for user in SESSION.participants:
        await put(stores, peer(user))
    await stores.sessions.put(SESSION)
    assert set(stores.directory.orphaned()) == set()
    await stores.peers.remove(BOB)
    assert set(stores.directory.orphaned()) == {BOB}
    await put(stores, peer(BOB))
    assert set(stores.directory.orphaned()) == set()
    await stores.peers.remove(ANN)
    later = replace(SESSION, id="ses_2", participants={ANN: "host", FAR_ANN: "guest"})
    await stores.sessions.put(later)
    assert set(stores.directory.orphaned()) == {ANN, FAR_ANN}
    await stores.sessions.swap(later, None)
    assert set(stores.directory.orphaned()) == {ANN}
    await stores.sessions.swap(SESSION, replace(SESSION, host=BOB, participants={BOB: "host"}))
    assert set(stores.directory.orphaned()) == set()


async def test_missing(stores: Stores) -> None:
    """What is not there reads as None or empty, and taking it away changes nothing."""
    directory = stores.directory
    assert (directory.peer(ANN), directory.request("req_0"), directory.session("ses_0")) == (None, None, None)
    assert [*directory.peers(None), *directory.peers("acme")] == []
    assert [*directory.requests_of(ANN), *directory.sessions_of(ANN)] == []
    assert await stores.peers.remove(ANN) is None
    assert await stores.requests.take("req_0") is None
    assert await stores.sessions.swap(SESSION, None) is False
    assert await stores.peers.take_lapsed(1e12) == []
    assert await stores.requests.take_expired(1e12) == []
    assert await stores.peers.release(ANN, FIRST) is False


async def test_claim(stores: Stores) -> None:
    """A claim returns the holder until now; it is per user, so per org too."""
    assert await stores.peers.claim(ANN, FIRST) is None
    assert await stores.peers.claim(ANN, SECOND) == FIRST
    assert await stores.peers.claim(FAR_ANN, FIRST) is None
    assert await stores.peers.claim(BOB, FIRST) is None


async def test_find(stores: Stores) -> None:
    """A peer is found, and one that is not there is not."""
    await put(stores, peer(ANN))
    assert await stores.peers.find(ANN) == peer(ANN)
    assert await stores.peers.find(BOB) is None


async def test_release(stores: Stores) -> None:
    """Only the holder can give a claim up, once; then there is no holder."""
    await stores.peers.claim(ANN, FIRST)
    await stores.peers.claim(ANN, SECOND)
    assert await stores.peers.release(ANN, FIRST) is False
    assert await stores.peers.release(FAR_ANN, SECOND) is False
    assert await stores.peers.release(ANN, SECOND) is True
    assert await stores.peers.release(ANN, SECOND) is False
    assert await stores.peers.claim(ANN, FIRST) is None


async def test_claims_at_once(stores: Stores) -> None:
    """Of claims at the same time each supersedes exactly one other, and one stands at the end."""
    holders = [Holder("node", number) for number in range(CALLERS)]
    waiting = list(holders)
    superseded = await at_once(lambda: stores.peers.claim(ANN, waiting.pop()))
    standing = await stores.peers.claim(ANN, Holder("node", 99))
    assert sorted(holder for holder in [*superseded, standing] if holder is not None) == holders


async def test_releases_at_once(stores: Stores) -> None:
    """Of releases at the same time one succeeds."""
    await stores.peers.claim(ANN, FIRST)
    assert sorted(await at_once(lambda: stores.peers.release(ANN, FIRST))) == [False] * (CALLERS - 1) + [True]


async def test_peers_in_order(stores: Stores) -> None:
    """Peers of an org stand in the order of registration; a replaced one keeps its place, a returned one does not."""
    for user in (ANN, BOB, CAT, FAR_ANN):
        await put(stores, peer(user))
    await put(stores, peer(ANN, lapses_at=5))
    assert [each.user for each in stores.directory.peers(None)] == [ANN, BOB, CAT]
    assert [each.user for each in stores.directory.peers("acme")] == [FAR_ANN]
    assert stores.directory.peer(ANN) == peer(ANN, lapses_at=5)
    assert await stores.peers.remove(ANN) == peer(ANN, lapses_at=5)
    assert stores.directory.peer(ANN) is None
    await put(stores, peer(ANN))
    assert [each.user for each in stores.directory.peers(None)] == [BOB, CAT, ANN]


async def test_listed_peers(stores: Stores) -> None:
    """Listed are those of an org who are present and do not hide, where they stand and as they are."""
    for user in (ANN, BOB, CAT, FAR_ANN):
        await put(stores, peer(user))
    await put(stores, replace(peer(ANN), is_hidden=True))
    await put(stores, replace(peer(BOB, lapses_at=5), is_resumable=True, status="busy"))
    assert [each.user for each in stores.directory.listed(None)] == [BOB, CAT]
    assert [each.status for each in stores.directory.listed(None)] == ["busy", "online"]
    await put(stores, peer(BOB, lapses_at=5))
    assert list(stores.directory.listed(None)) == [peer(CAT)]
    await put(stores, peer(ANN))
    assert [each.user for each in stores.directory.listed(None)] == [ANN, CAT]
    assert list(stores.directory.listed("acme")) == [peer(FAR_ANN)]
    assert list(stores.directory.listed("nobody")) == []


async def test_listed_by_name(stores: Stores) -> None:
    """A part of the name is found in any case, also of a name that was changed."""
    for user, name in ((ANN, "Ann Straße"), (BOB, "BOBBY"), (CAT, "Cat")):
        await put(stores, named(user, name))

    def found(part: str) -> list[str]:
        return [each.user.id for each in stores.directory.listed(None, name=part.casefold())]

    assert (found(""), found("BB"), found("STRASSE"), found("x")) == (["ann", "bob", "cat"], ["bob"], ["ann"], [])
    await put(stores, named(BOB, "Robert"))
    assert (found("bb"), found("rob")) == ([], ["bob"])
    assert [each.user for each in stores.directory.listed(None, after=stores.directory.place(ANN), name="t")] == [
        BOB,
        CAT,
    ]


async def test_places(stores: Stores) -> None:
    """A place is kept while the peer is there, and never taken by another."""
    assert stores.directory.place(ANN) == 0
    for user in (ANN, BOB):
        await put(stores, peer(user))
    first, second = stores.directory.place(ANN), stores.directory.place(BOB)
    assert 0 < first < second
    await put(stores, peer(ANN, lapses_at=5))
    assert stores.directory.place(ANN) == first
    await stores.peers.remove(ANN)
    assert stores.directory.place(ANN) == 0
    await put(stores, peer(ANN))
    assert stores.directory.place(ANN) > second


async def test_places_of_other_orgs(stores: Stores) -> None:
    """Each org counts its own registrations, and no replacements: a place says nothing of who else there is."""
    for user in (ANN, FAR_ANN, BOB, User("far bob", FAR_ANN.org), CAT):
        for _ in range(2):
            await put(stores, peer(user))
    places = [stores.directory.place(user) for user in (ANN, BOB, CAT)]
    assert places == [1, 2, 3]


Churn = list[tuple[str, str]]
USERS = [f"user {number}" for number in range(12)]


@given(
    churns=st.lists(st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from("plhor"))), max_size=8),
    page=st.integers(1, 5),
)
async def test_paging_while_peers_come_and_go(churns: list[Churn], page: int) -> None:
    """Whoever is there all the time is listed once, and nobody twice but those who were gone for good between."""
    stores = MemoryStores()
    present = {name for name in USERS if name < "user 5"}
    for name in sorted(present):
        await put(stores, peer(User(name)))
    always, gone = set(present), set()
    pages: list[str] = []
    after: int | None = 0
    while after is not None:
        listed = [each.user for each in islice(stores.directory.listed(None, after=after), page)]
        pages += [user.id for user in listed]
        after = stores.directory.place(listed[-1]) if listed else None
        for name, what in churns.pop() if churns else ():
            gone |= {name} if what == "r" else set()
            always -= set() if what == "p" else {name}
            await churn(stores, User(name), what)
    assert always <= set(pages)
    assert all(name in gone for name in pages if pages.count(name) > 1)


async def churn(stores: Stores, user: User, what: str) -> None:
    """Put a peer, let it lapse, hide or go offline, or remove it."""
    if what == "r":
        await stores.peers.remove(user)
    else:
        changed = replace(peer(user), lapses_at=5 if what in "lo" else None, is_hidden=what == "h")
        await put(stores, replace(changed, is_resumable=what == "l"))


async def test_released(stores: Stores) -> None:
    """What is done for a user whose connection is gone is not done once there is another."""
    await put(stores, peer(ANN))
    assert await stores.peers.put_released(peer(ANN, lapses_at=5))
    assert stores.directory.peer(ANN) == peer(ANN, lapses_at=5)
    await stores.peers.claim(ANN, FIRST)
    assert await stores.peers.put_released(peer(ANN)) is False
    assert await stores.peers.remove_released(ANN) is None
    assert stores.directory.peer(ANN) == peer(ANN, lapses_at=5)
    await stores.peers.release(ANN, FIRST)
    assert await stores.peers.remove_released(ANN) == peer(ANN, lapses_at=5)
    assert await stores.peers.remove_released(ANN) is None
    assert stores.directory.peer(ANN) is None


async def test_a_peer_is_not_its_claim(stores: Stores) -> None:
    """Forgetting a peer leaves the claim as it is, and the other way round."""
    await put(stores, peer(ANN))
    await stores.peers.claim(ANN, FIRST)
    await stores.peers.remove(ANN)
    assert await stores.peers.release(ANN, FIRST) is True
    await put(stores, peer(ANN))
    await stores.peers.claim(ANN, FIRST)
    await stores.peers.release(ANN, FIRST)
    assert stores.directory.peer(ANN) == peer(ANN)


async def test_lapse(stores: Stores) -> None:
    """Peers lapse when their time has come, not before, and not if they returned or went."""
    for user, lapses_at in ((ANN, 10.0), (BOB, 20.0), (CAT, 10.0), (FAR_ANN, None)):
        await put(stores, peer(user, lapses_at))
    await put(stores, peer(CAT))
    assert await stores.peers.take_lapsed(9.9) == []
    assert await stores.peers.take_lapsed(10) == [peer(ANN, 10.0)]
    assert stores.directory.peer(ANN) is None
    await put(stores, peer(BOB, 30.0))
    assert await stores.peers.take_lapsed(25) == []
    await stores.peers.remove(BOB)
    assert await stores.peers.take_lapsed(1e12) == []


async def test_lapsed_once(stores: Stores) -> None:
    """Each lapsed peer goes to one caller only."""
    await put(stores, peer(ANN, 1))
    await put(stores, peer(BOB, 1))
    taken = [each for batch in await at_once(lambda: stores.peers.take_lapsed(2)) for each in batch]
    assert sorted(each.user for each in taken) == [ANN, BOB]


async def test_an_invitation(stores: Stores) -> None:
    """A request keeps to which session it invites, and in what role."""
    invitation = replace(ask(1, 30), session_id="ses_1", role="observer")
    await stores.requests.add(invitation)
    assert stores.directory.request("req_1") == invitation
    assert await stores.requests.take("req_1") == invitation


async def test_requests(stores: Stores) -> None:
    """A request is listed for both sides, oldest first, until it is taken."""
    asked = [ask(1, 30), ask(2, 31, CAT), ask(3, 32)]
    for request in asked:
        await stores.requests.add(request)
    assert list(stores.directory.requests_of(ANN)) == asked
    assert list(stores.directory.requests_of(BOB)) == [asked[0], asked[2]]
    assert stores.directory.request("req_2") == asked[1]
    taken = await at_once(lambda: stores.requests.take("req_1"))
    assert [each for each in taken if each is not None] == [asked[0]]
    assert stores.directory.request("req_1") is None
    assert list(stores.directory.requests_of(BOB)) == [asked[2]]
    assert list(stores.directory.requests_of(ANN)) == asked[1:]


async def test_expiry(stores: Stores) -> None:
    """Requests expire when their time is up, oldest first, each to one caller only."""
    asked = [ask(1, 30), ask(2, 31, CAT), ask(3, 40)]
    for request in asked:
        await stores.requests.add(request)
    assert await stores.requests.take_expired(29.9) == []
    batches = await at_once(lambda: stores.requests.take_expired(31))
    assert [each for batch in batches for each in batch] == asked[:2]
    assert list(stores.directory.requests_of(ANN)) == asked[2:]
    assert list(stores.directory.requests_of(CAT)) == []
    assert await stores.requests.take("req_1") is None


async def test_sessions(stores: Stores) -> None:
    """A session is listed for each participant, oldest first; who is taken out does not see it any more."""
    later = Session(id="ses_2", host=CAT, participants={CAT: "host", BOB: "observer"})
    await stores.sessions.put(SESSION)
    await stores.sessions.put(later)
    assert list(stores.directory.sessions_of(BOB)) == [SESSION, later]
    changed = replace(SESSION, participants={ANN: "host", CAT: "guest"})
    assert await stores.sessions.swap(SESSION, changed)
    assert stores.directory.session("ses_1") == changed
    assert list(stores.directory.sessions_of(ANN)) == [changed]
    assert list(stores.directory.sessions_of(BOB)) == [later]
    assert {each.id for each in stores.directory.sessions_of(CAT)} == {"ses_1", "ses_2"}


async def test_session_order(stores: Stores) -> None:
    """Participants stay in the order of joining, whatever changes of them."""
    joined = Session(id="ses_1", host=CAT, participants={CAT: "host", ANN: "guest", BOB: "observer"})
    await stores.sessions.put(joined)
    kept = stores.directory.session("ses_1")
    assert kept is not None
    assert list(kept.participants) == [CAT, ANN, BOB]
    changed = replace(joined, host=ANN, participants={CAT: "guest", ANN: "host", BOB: "guest", FAR_ANN: "guest"})
    assert await stores.sessions.swap(kept, changed)
    kept = stores.directory.session("ses_1")
    assert kept is not None
    assert list(kept.participants) == [CAT, ANN, BOB, FAR_ANN]


async def test_sessions_of_a_user_in_order(stores: Stores) -> None:
    """A change of a session leaves its place among those of its participants."""
    await stores.sessions.put(SESSION)
    await stores.sessions.put(replace(SESSION, id="ses_2"))
    assert await stores.sessions.swap(SESSION, replace(SESSION, host=BOB))
    assert [each.id for each in stores.directory.sessions_of(ANN)] == ["ses_1", "ses_2"]


async def test_swap_of_what_changed(stores: Stores) -> None:
    """A session that is not as it was is left as it is, and one that is over stays over."""
    await stores.sessions.put(SESSION)
    changed = replace(SESSION, participants={ANN: "host", BOB: "observer"})
    assert await stores.sessions.swap(SESSION, changed) is True
    for after in (None, replace(SESSION, host=BOB, participants={BOB: "host", CAT: "guest"})):
        assert await stores.sessions.swap(SESSION, after) is False
    assert stores.directory.session("ses_1") == changed
    assert list(stores.directory.sessions_of(ANN)) == [changed]
    assert list(stores.directory.sessions_of(CAT)) == []
    assert await stores.sessions.swap(changed, None) is True
    assert await stores.sessions.swap(changed, SESSION) is False
    assert stores.directory.session("ses_1") is None
    assert [*stores.directory.sessions_of(ANN), *stores.directory.sessions_of(BOB)] == []


async def test_swaps_at_once(stores: Stores) -> None:
    """Of changes at the same time one is made, and it is the one that was told so."""
    await stores.sessions.put(SESSION)
    joining = [User(f"user {number}") for number in range(CALLERS)]
    waiting = list(joining)
    made: list[User] = []

    async def join() -> None:
        user = waiting.pop()
        after = replace(SESSION, participants={**SESSION.participants, user: "guest"})
        if await stores.sessions.swap(SESSION, after):
            made.append(user)

    await at_once(join)
    session = stores.directory.session("ses_1")
    assert session is not None
    assert list(session.participants) == [ANN, BOB, *made]
    assert len(made) == 1
    assert [user for user in joining if stores.directory.sessions_of(user)] == made


async def test_session_ends_once(stores: Stores) -> None:
    """One caller only ends a session; it is listed for nobody then."""
    await stores.sessions.put(SESSION)
    ended = await at_once(lambda: stores.sessions.swap(SESSION, None))
    assert sorted(ended) == [False] * (CALLERS - 1) + [True]
    assert stores.directory.session("ses_1") is None
    assert [*stores.directory.sessions_of(ANN), *stores.directory.sessions_of(BOB)] == []


async def test_lists_outlive_changes(stores: Stores) -> None:
    """A user's sessions and requests can be gone through while they are being ended."""
    await stores.sessions.put(SESSION)
    await stores.sessions.put(replace(SESSION, id="ses_2"))
    await stores.requests.add(ask(1, 30))
    await stores.requests.add(ask(2, 30))
    for session in stores.directory.sessions_of(ANN):
        await stores.sessions.swap(session, None)
    for request in stores.directory.requests_of(ANN):
        await stores.requests.take(request.id)
    assert [*stores.directory.sessions_of(BOB), *stores.directory.requests_of(BOB)] == []


async def test_a_store_answers(stores: Stores) -> None:
    """A store that is there answers a ping, and can be closed."""
    await stores.ping()
    await stores.close()


def test_card() -> None:
    """A peer's card is its id and profile."""
    assert peer(FAR_ANN).card == PeerCard(id="ann", profile=PROFILE)


async def test_register(stores: Stores) -> None:
    """Only the user's one socket can register it."""
    await stores.peers.claim(ANN, Holder("node", 2))
    assert not await stores.peers.register(peer(ANN), Holder("node", 1))
    assert stores.directory.peer(ANN) is None
    assert await stores.peers.register(peer(ANN), Holder("node", 2))
    assert stores.directory.peer(ANN) == replace(peer(ANN), holder=Holder("node", 2))


async def test_a_revoked_token(stores: Stores) -> None:
    """A token is revoked by its id, whosever it is, until no such token can be valid any more."""
    await stores.revocations.add(Revocation(expires_at=100, token_id="t1"), 0)
    assert await stores.revocations.cover(ANN, "t1", 50, 99)
    assert not await stores.revocations.cover(ANN, "t1", 50, 100)
    assert not await stores.revocations.cover(ANN, "t2", 0, 0)
    assert not await stores.revocations.cover(ANN, None, 0, 0)


async def test_a_revoked_user(stores: Stores) -> None:
    """What was issued to a user before the cut-off is revoked, and nothing of the same name in another org."""
    await stores.revocations.add(Revocation(expires_at=100, user=ANN, issued_before=50), 0)
    assert await stores.revocations.cover(ANN, "t1", 49.9, 99)
    assert await stores.revocations.cover(ANN, None, 0, 99)
    assert not await stores.revocations.cover(ANN, None, 0, 100)
    assert not await stores.revocations.cover(ANN, None, 50, 0)
    for other in (BOB, FAR_ANN):
        assert not await stores.revocations.cover(other, None, 0, 0)


async def test_revocations_of_one_user(stores: Stores) -> None:
    """Of several about one user the latest cut-off and the latest end count, in whatever order they come."""
    for expires_at, issued_before in ((100, 50), (200, 10), (150, 60)):
        await stores.revocations.add(Revocation(expires_at=expires_at, user=ANN, issued_before=issued_before), 0)
    assert await stores.revocations.cover(ANN, None, 59, 199)
    assert not await stores.revocations.cover(ANN, None, 60, 0)


async def test_a_token_is_no_user(stores: Stores) -> None:
    """A token's id and a user's name are told apart."""
    await stores.revocations.add(Revocation(expires_at=100, token_id="ann"), 0)
    await stores.revocations.add(Revocation(expires_at=100, user=BOB, issued_before=50), 0)
    assert not await stores.revocations.cover(ANN, None, 0, 0)
    assert not await stores.revocations.cover(ANN, "bob", 0, 0)
