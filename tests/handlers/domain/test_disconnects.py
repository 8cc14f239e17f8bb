"""Leaving and dropping out (docs/protocol.md section 3)."""

from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from handlers.domain import disconnects
from schemas.connections import ConnectionCancelled, ConnectionRejected
from schemas.fields import EndReason
from schemas.sessions import SessionEnded
from stores.model import Peer, Revocation, Session, User
from stores.protocols import StoreUnreachableError
from tests.support.doubles import ANN, BOB, CAT, START, Seat, World, failing

DAN = User("dan")


@pytest.fixture
def world() -> World:
    return World()


async def lapse(world: World, seat: Seat) -> None:
    await disconnects.drop(seat)
    world.clock.advance(30)
    await disconnects.expire_absences(world.services)


async def overflow(world: World, seat: Seat) -> None:
    await disconnects.drop(seat)
    await disconnects.overflow(seat.user, world.services)


async def leave(world: World, seat: Seat) -> None:
    await disconnects.leave(seat)


async def lapse_superseded(world: World, seat: Seat) -> None:
    await world.enter(seat.user.id)
    world.clock.advance(30)
    await disconnects.expire_absences(world.services)


WAYS = [(leave, "left"), (lapse, "timeout"), (lapse_superseded, "timeout"), (overflow, "overflow")]
Way = Callable[[World, Seat], Awaitable[None]]


def announced(world: World) -> list[Peer]:
    return [call[1] for call in world.delivery.named("announce") if isinstance(call[1], Peer)]


@pytest.mark.parametrize(("way", "reason"), WAYS)
async def test_giving_up(world: World, way: Way, reason: EndReason) -> None:
    """Whoever is given up is told offline once, with the profile, and its sessions end for the others."""
    ann, bob = await world.join("ann"), await world.join("bob")
    session_id = await world.pair(ann, bob)
    profile = world.peer(ANN).profile
    await way(world, ann)
    assert [(each.user, each.status, each.profile) for each in announced(world)] == [(ANN, "offline", profile)]
    assert world.delivery.to(BOB) == [SessionEnded(session_id=session_id, reason=reason)]
    assert world.delivery.to(ANN) == []
    assert world.delivery.named("forget") == [("forget", ANN)]
    assert (world.directory.peer(ANN), world.directory.session(session_id)) == (None, None)
    assert list(world.directory.sessions_of(BOB)) == []


@pytest.mark.parametrize(("way", "reason"), WAYS)
async def test_the_others_go_on(world: World, way: Way, reason: EndReason) -> None:
    """A session of more than two goes on without the one given up, and nobody is told that it is over."""
    ann = await world.join("ann")
    await world.stores.sessions.put(Session("ses_1", BOB, {BOB: "host", ANN: "guest", CAT: "guest"}))
    await way(world, ann)
    session = world.directory.session("ses_1")
    assert session is not None
    assert list(session.participants) == [BOB, CAT]
    assert [*world.delivery.to(BOB), *world.delivery.to(CAT)] == []


@pytest.mark.parametrize(("way", "reason"), WAYS)
async def test_requests_are_gone(world: World, way: Way, reason: EndReason) -> None:
    """Who asked the one given up is rejected as `offline`; whom it asked hears nothing."""
    ann, bob, cat = [await world.join(token) for token in ("ann", "bob", "cat")]
    made = await world.ask(ann, cat)
    got = await world.ask(bob, ann)
    await way(world, ann)
    rejected = ConnectionRejected(request_id=got, target_id="ann", reason="offline")
    assert world.delivery.named("send") == [("send", BOB, rejected, ANN)]
    assert (world.directory.request(made), world.directory.request(got)) == (None, None)
    assert list(world.directory.requests_of(cat.user)) == []


async def test_drop(world: World) -> None:
    """A drop is told as offline, and all else waits: mail is kept, session and requests live."""
    ann, bob = await world.join("ann"), await world.join("bob")
    session_id = await world.pair(ann, bob)
    request_id = await world.ask(bob, ann)
    await disconnects.drop(ann)
    away = world.peer(ANN)
    assert (away.status, away.lapses_at) == ("offline", START + 30)
    assert world.delivery.calls == [("detach", ANN), ("announce", away)]
    assert world.directory.session(session_id) is not None
    assert world.directory.request(request_id) is not None
    world.clock.advance(29.9)
    await disconnects.expire_absences(world.services)
    assert world.directory.peer(ANN) == away


async def test_drop_before_registering_again(world: World) -> None:
    """A superseding socket that drops before it registers makes the user offline; the grace is not prolonged."""
    await world.join("ann")
    new = await world.enter("ann")
    world.clock.advance(10)
    world.delivery.calls.clear()
    await disconnects.drop(new)
    assert (world.peer(ANN).status, world.peer(ANN).lapses_at) == ("offline", START + 30)
    assert world.delivery.calls == [("announce", world.peer(ANN))]


async def test_a_second_drop(world: World) -> None:
    """Authenticating and dropping again while away is not told again and does not prolong the grace."""
    await disconnects.drop(await world.join("ann"))
    away = world.peer(ANN)
    world.clock.advance(10)
    again = await world.enter("ann")
    world.delivery.calls.clear()
    await disconnects.drop(again)
    assert (world.peer(ANN), world.delivery.calls) == (away, [])


@pytest.mark.parametrize("way", [disconnects.leave, disconnects.drop])
async def test_the_unregistered(world: World, way: Callable[[Seat], Awaitable[None]]) -> None:
    """A socket that never registered goes without a word, and its claim with it."""
    seat = await world.enter("ann")
    await way(seat)
    assert world.delivery.calls == [("forget", ANN)]
    assert await world.stores.peers.claim(ANN, seat.socket.holder) is None


async def test_leaving_while_away(world: World) -> None:
    """A goodbye over a new socket that did not register gives the user up at once, telling offline no second time."""
    ann, bob = await world.join("ann"), await world.join("bob")
    session_id = await world.pair(ann, bob)
    await disconnects.drop(ann)
    again = await world.enter("ann")
    world.delivery.calls.clear()
    await disconnects.leave(again)
    assert announced(world) == []
    assert world.delivery.to(BOB) == [SessionEnded(session_id=session_id, reason="left")]


async def test_absences_expire_once(world: World) -> None:
    """Those whose grace is over are given up, the others not, and nobody twice."""
    await disconnects.drop(await world.join("ann"))
    world.clock.advance(10)
    await disconnects.drop(await world.join("bob"))
    world.clock.advance(20)
    world.delivery.calls.clear()
    await disconnects.expire_absences(world.services)
    await disconnects.expire_absences(world.services)
    assert world.delivery.calls == [("forget", ANN)]
    assert replace(world.peer(BOB), lapses_at=None).user == BOB


async def test_overflow_of_nobody(world: World) -> None:
    """An overflow of a user who is gone already changes nothing."""
    await disconnects.overflow(ANN, world.services)
    assert world.delivery.calls == []


async def test_overflow_of_one_who_returned(world: World) -> None:
    """A user who registered before its overflow was seen to stays in the directory, and its socket with it."""
    ann = await world.join("ann")
    await disconnects.drop(ann)
    await world.join("ann")
    await disconnects.overflow(ANN, world.services)
    assert world.directory.peer(ANN) is not None
    assert world.delivery.named("forget", "announce") == []


async def test_overflow_of_one_who_can_resume(world: World) -> None:
    """Who can resume keeps its sessions, and is told on its return that it cannot; until then nobody notices."""
    ann, bob = await world.join("ann", capabilities=["resume"]), await world.join("bob")
    await world.pair(ann, bob)
    await disconnects.drop(ann)
    world.delivery.calls.clear()
    await disconnects.overflow(ANN, world.services)
    assert world.delivery.calls == []
    assert len(world.directory.sessions_of(ANN)) == 1


async def test_overflow_of_one_who_has_still_to_register(world: World) -> None:
    """Who could not resume, and gets more than is kept before it registers, is in no session any more."""
    ann, bob = await world.join("ann", capabilities=["resume"]), await world.join("bob")
    session_id = await world.pair(ann, bob)
    await disconnects.drop(ann)
    await world.enter("ann", capabilities=["resume"])
    await disconnects.overflow(ANN, world.services)
    assert world.delivery.to(BOB) == [SessionEnded(session_id=session_id, reason="overflow")]
    assert world.directory.peer(ANN) is None


async def test_drop_of_one_who_can_resume(world: World) -> None:
    """Who can resume stays as it is, without a word to others, until its grace is over; then it is given up."""
    ann, bob = await world.join("ann", capabilities=["resume"]), await world.join("bob")
    session_id = await world.pair(ann, bob)
    before = world.peer(ANN)
    await disconnects.drop(ann)
    assert world.peer(ANN) == replace(before, lapses_at=START + 120, is_resumable=True)
    assert world.delivery.calls == [("detach", ANN)]
    world.clock.advance(120)
    await disconnects.expire_absences(world.services)
    assert world.delivery.to(BOB) == [SessionEnded(session_id=session_id, reason="timeout")]
    assert [call[0] for call in world.delivery.calls].count("announce") == 1


REVOKED = Revocation(expires_at=START + 1000, user=ANN, issued_before=START + 1)


async def test_revoked(world: World) -> None:
    """The sockets of a revoked user are cut, its sessions end at once, and the revocation is kept."""
    ann, bob, cat = await world.join("ann"), await world.join("bob"), await world.join("cat")
    session_id, other_id = await world.pair(ann, bob), await world.pair(cat, bob)
    world.delivery.here = [ANN, BOB, CAT]
    assert await disconnects.revoke(REVOKED, world.services) == 1
    assert await world.stores.revocations.cover(ANN, None, START, START)
    assert world.delivery.to(BOB) == [SessionEnded(session_id=session_id, reason="revoked")]
    assert [(each.user, each.status) for each in announced(world)] == [(ANN, "offline")]
    assert (world.directory.peer(ANN), world.directory.session(session_id)) == (None, None)
    assert world.directory.session(other_id) is not None
    world.delivery.calls.clear()
    await disconnects.drop(ann)
    assert world.delivery.calls == [("forget", ANN)]


@pytest.mark.parametrize("capabilities", [None, ["resume"]])
async def test_revoked_while_away(capabilities: list[str] | None, world: World) -> None:
    """A revoked user who is away is given up: it cannot return with that token."""
    ann, bob = await world.join("ann", capabilities=capabilities), await world.join("bob")
    session_id = await world.pair(ann, bob)
    await disconnects.drop(ann)
    assert await disconnects.revoke(REVOKED, world.services) == 0
    assert world.delivery.to(BOB) == [SessionEnded(session_id=session_id, reason="revoked")]
    assert world.directory.peer(ANN) is None


@pytest.mark.parametrize("capabilities", [None, ["resume"]])
@pytest.mark.parametrize("is_put_off", [False, True])
async def test_revoked_while_dropping(world: World, capabilities: list[str] | None, *, is_put_off: bool) -> None:
    """A revocation that comes just before a peer is put down as away, and finds no socket either, gives it up too."""
    ann, bob = await world.join("ann", capabilities=capabilities), await world.join("bob")
    session_id = await world.pair(ann, bob)
    assert await disconnects.revoke(REVOKED, world.services) == 0
    assert world.directory.peer(ANN) is not None
    if is_put_off:
        await disconnects.catch_up(ann.socket.identity, ann.socket.holder, world.services, is_leaving=False)
    else:
        await disconnects.drop(ann)
    assert world.directory.peer(ANN) is None
    assert SessionEnded(session_id=session_id, reason="revoked") in world.delivery.to(BOB)
    assert announced(world)[-1].status == "offline"


@pytest.mark.parametrize("token_id", [None, "token of ann"])
async def test_a_revocation_that_was_not_heard_of(world: World, token_id: str | None) -> None:
    """A socket whose revoked token is found out later is cut as if it had been heard of; others stay."""
    ann, bob = await world.join("ann"), await world.join("bob")
    session_id = await world.pair(ann, bob)
    world.delivery.here = [ANN, BOB]
    identity = replace(ann.socket.identity, token_id=token_id, issued_at=START)
    await disconnects.recheck(identity, world.services)
    assert world.delivery.named("revoke") == []
    await world.stores.revocations.add(REVOKED, START)
    await disconnects.recheck(bob.socket.identity, world.services)
    assert world.delivery.named("revoke") == []
    await disconnects.recheck(identity, world.services)
    (call,) = world.delivery.named("revoke")
    assert isinstance(call[1], Revocation)
    assert call[1].covers(ANN, token_id, START)
    assert not call[1].covers(BOB, "token of bob", START)
    assert not call[1].covers(ANN, "newer", START + 1)
    assert SessionEnded(session_id=session_id, reason="revoked") in world.delivery.to(BOB)


async def test_revoked_before_another_socket_came(world: World) -> None:
    """The end of a revoked socket touches nothing of a socket that came with a good token since."""
    old = await world.join("ann")
    await disconnects.revoke(REVOKED, world.services)
    await world.join("ann")
    await disconnects.drop(old)
    assert world.peer(ANN).lapses_at is None


async def test_one_token_revoked(world: World) -> None:
    """A revoked token cuts the one whom it let in; the user's other tokens stay good."""
    await world.join("ann")
    await world.join("bob")
    world.delivery.here = [ANN, BOB]
    assert await disconnects.revoke(Revocation(expires_at=START + 1, token_id="token of bob"), world.services) == 1
    assert (world.directory.peer(BOB), world.peer(ANN).user) == (None, ANN)
    assert not await world.stores.revocations.cover(BOB, "another", 0, START)


@pytest.mark.parametrize("user", [BOB, User("ann", "acme"), User("nobody")])
async def test_a_revocation_of_somebody_else(user: User, world: World) -> None:
    """Whom a revocation does not cover is left alone."""
    await world.join("ann")
    world.delivery.here = [ANN]
    assert await disconnects.revoke(replace(REVOKED, user=user), world.services) == 0
    assert world.peer(ANN).user == ANN


async def test_a_newer_token(world: World) -> None:
    """Who came in with a token issued after the cut-off stays."""
    await world.join("ann")
    world.delivery.here = [ANN]
    assert await disconnects.revoke(replace(REVOKED, issued_before=START), world.services) == 0
    assert world.peer(ANN).user == ANN


@pytest.mark.parametrize("is_released", [False, True])
@pytest.mark.parametrize("is_leaving", [False, True])
async def test_an_end_that_was_put_off(world: World, is_leaving: bool, is_released: bool) -> None:
    """What could not be done at its time is done later, also if the store was lost in the middle of it."""
    ann, bob = await world.join("ann"), await world.join("bob")
    await world.pair(ann, bob)
    holder = ann.socket.holder
    if is_released:
        await world.stores.peers.release(ANN, holder)
    await disconnects.catch_up(ann.socket.identity, holder, world.services, is_leaving=is_leaving)
    assert [each.status for each in announced(world)] == ["offline"]
    assert (world.directory.peer(ANN) is None) == is_leaving
    assert bool(list(world.directory.sessions_of(BOB))) != is_leaving


async def test_an_end_that_was_put_off_for_too_long(world: World) -> None:
    """Whoever has another socket by then stays."""
    ann = await world.join("ann")
    await world.join("ann")
    await disconnects.catch_up(ann.socket.identity, ann.socket.holder, world.services, is_leaving=True)
    assert world.peer(ANN).lapses_at is None


async def revoke(world: World, seat: Seat) -> None:
    world.delivery.here = [seat.user]
    await disconnects.revoke(replace(REVOKED, user=seat.user), world.services)


def reasons(world: World, user: User, kind: type[ConnectionRejected | ConnectionCancelled]) -> list[str | None]:
    return [each.reason for each in world.delivery.to(user) if isinstance(each, kind)]


@pytest.mark.parametrize(("way", "reason"), [*WAYS, (revoke, "revoked")])
async def test_cut_short(world: World, monkeypatch: pytest.MonkeyPatch, way: Way, reason: EndReason) -> None:
    """Who was given up by half, as the store went away, is out of its sessions once the store is back."""
    ann, bob, cat = [await world.join(token) for token in ("ann", "bob", "cat")]
    session_id = await world.pair(ann, bob)
    await world.ask(cat, ann)
    with failing(monkeypatch, world.stores.sessions, "swap"):
        await way(world, ann)
        assert (world.directory.peer(ANN), len(world.directory.sessions_of(ANN))) == (None, 1)
        with pytest.raises(StoreUnreachableError):
            await world.services.retries.retry()
    assert reasons(world, CAT, ConnectionRejected) == ["offline"]
    for _ in range(2):
        await world.services.retries.retry()
        assert world.delivery.to(BOB) == [SessionEnded(session_id=session_id, reason=reason)]
    assert (list(world.directory.sessions_of(ANN)), list(world.directory.requests_of(ANN))) == ([], [])
    assert len(world.services.retries) == 0


@pytest.mark.parametrize(("way", "reason"), [*WAYS, (revoke, "revoked")])
async def test_each_on_its_own(world: World, monkeypatch: pytest.MonkeyPatch, way: Way, reason: EndReason) -> None:
    """A session or request that the store fails for keeps no other one from ending, and ends later."""
    ann, bob, cat, dan = [await world.join(token, capabilities=["sessions"]) for token in ("ann", "bob", "cat", "dan")]
    for other in (bob, cat):
        await world.pair(ann, other)
    for other in (bob, cat):
        await world.ask(ann, other)
    await world.ask(dan, ann)
    requests, sessions = world.stores.requests, world.stores.sessions
    with failing(monkeypatch, requests, "take", 1), failing(monkeypatch, sessions, "swap", 1):
        await way(world, ann)
    ended = [each for other in (BOB, CAT) for each in world.delivery.to(other) if isinstance(each, SessionEnded)]
    assert [each.reason for each in ended] == [reason]
    assert [reasons(world, other, ConnectionCancelled) for other in (BOB, CAT)] == [[], ["offline"]]
    assert reasons(world, DAN, ConnectionRejected) == ["offline"]
    await world.services.retries.retry()
    assert reasons(world, BOB, ConnectionCancelled) == ["offline"]
    assert (list(world.directory.sessions_of(ANN)), list(world.directory.requests_of(ANN))) == ([], [])


async def test_several_lapse_and_the_first_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All who lapsed are told of as offline; the one that the store failed for is out of its session a little later."""
    ann, bob, cat, dan = [await world.join(token) for token in ("ann", "bob", "cat", "dan")]
    for seat in (ann, bob, cat):
        await world.pair(seat, dan)
    for seat in (ann, bob, cat):
        await disconnects.drop(seat)
    world.delivery.calls.clear()
    world.clock.advance(30)
    with failing(monkeypatch, world.stores.sessions, "swap", 1):
        await disconnects.expire_absences(world.services)
    assert world.delivery.named("forget") == [("forget", user) for user in (ANN, BOB, CAT)]
    assert [len(world.directory.sessions_of(user)) for user in (ANN, BOB, CAT)] == [1, 0, 0]
    await world.services.retries.retry()
    assert [len(world.directory.sessions_of(user)) for user in (ANN, BOB, CAT)] == [0, 0, 0]


async def test_several_lapse_and_one_is_a_mistake_of_ours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else goes wrong with one of them is raised once the others are given up."""
    for token in ("ann", "bob"):
        await disconnects.drop(await world.join(token, capabilities=["resume"]))
    announce, world.delivery.calls[:] = world.delivery.announce, []

    def fail_first(peer: Peer) -> None:
        if peer.user == ANN:
            raise ZeroDivisionError
        announce(peer)

    monkeypatch.setattr(world.delivery, "announce", fail_first)
    world.clock.advance(120)
    with pytest.raises(ZeroDivisionError):
        await disconnects.expire_absences(world.services)
    assert [each.user for each in announced(world)] == [BOB]


async def test_several_revoked_and_the_store_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All sockets are closed; whom the store did not answer for is given up later, the others at once."""
    ann, _ = await world.join("ann"), await world.join("bob")
    world.delivery.here = [ANN, BOB]
    monkeypatch.setattr(Revocation, "covers", lambda *_: True)
    with failing(monkeypatch, world.stores.peers, "remove", 1):
        assert await disconnects.revoke(REVOKED, world.services) == 2
    assert (world.directory.peer(BOB), world.peer(ANN).user) == (None, ANN)
    await world.stores.peers.release(ANN, ann.socket.holder)
    await world.services.retries.retry()
    assert world.directory.peer(ANN) is None
    assert [(each.user, each.status) for each in announced(world)] == [(BOB, "offline"), (ANN, "offline")]


async def test_revoked_and_back_with_another_token(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is back with a good token by the time that the store answers stays."""
    await world.join("ann")
    world.delivery.here = [ANN]
    with failing(monkeypatch, world.stores.peers, "remove"):
        await disconnects.revoke(REVOKED, world.services)
    await world.join("ann")
    await world.services.retries.retry()
    assert world.peer(ANN).lapses_at is None


async def test_an_overflow_that_the_store_fails_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its consequences later, unless the user is back by then."""
    for token in ("ann", "bob"):
        await disconnects.drop(await world.join(token))
    with failing(monkeypatch, world.stores.peers, "remove"):
        for user in (ANN, BOB):
            await disconnects.overflow(user, world.services)
    await world.join("ann")
    await world.services.retries.retry()
    assert (world.peer(ANN).user, world.directory.peer(BOB)) == (ANN, None)


async def test_who_came_back_after_being_cut_short(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who registers again before its sessions could be ended stays in them."""
    ann, bob = await world.join("ann"), await world.join("bob")
    await world.pair(ann, bob)
    with failing(monkeypatch, world.stores.sessions, "swap"):
        await disconnects.leave(ann)
    await world.join("ann")
    await world.services.retries.retry()
    assert len(world.directory.sessions_of(ANN)) == 1


async def test_strays(world: World) -> None:
    """Who is in sessions or requests, and not there, as when its node died halfway, is out of them before long."""
    ann, bob, cat = [await world.join(token) for token in ("ann", "bob", "cat")]
    session_id = await world.pair(ann, bob)
    await world.stores.peers.remove(ANN)
    await world.ask(cat, bob)
    await world.stores.peers.remove(CAT)
    orphaned = disconnects.OrphanedMembers(world.services, world.clock.now)
    for seconds in (0, disconnects.ORPHAN_SECONDS, disconnects.ORPHAN_SECONDS - 1):
        world.clock.advance(seconds)
        await orphaned.remove()
        assert world.delivery.to(BOB) == []
    world.clock.advance(1)
    await orphaned.remove()
    assert world.delivery.to(BOB) == [SessionEnded(session_id=session_id, reason="timeout")]
    assert list(world.directory.requests_of(CAT)) == []


async def test_strays_that_the_store_fails_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One keeps no other from being taken out, and is so once the store answers."""
    ann, bob, cat = [await world.join(token) for token in ("ann", "bob", "cat")]
    for seat in (ann, cat):
        await world.pair(seat, bob)
        await world.stores.peers.remove(seat.user)
    orphaned = disconnects.OrphanedMembers(world.services, world.clock.now)
    for times in (0, 1):
        world.clock.advance(disconnects.ORPHAN_SECONDS)
        with failing(monkeypatch, world.stores.sessions, "swap", times):
            await orphaned.remove()
    assert len(world.directory.sessions_of(BOB)) == 1
    await world.services.retries.retry()
    assert list(world.directory.sessions_of(BOB)) == []


async def test_who_came_back_is_no_stray(world: World) -> None:
    """Who registers again before that stays in its sessions; who never was away does, too."""
    orphaned = disconnects.OrphanedMembers(world.services, world.clock.now)
    ann, bob = await world.join("ann"), await world.join("bob")
    await world.pair(ann, bob)
    await world.stores.peers.remove(ANN)
    world.clock.advance(disconnects.ORPHAN_SECONDS)
    await orphaned.remove()
    await world.join("ann")
    for _ in range(3):
        world.clock.advance(disconnects.ORPHAN_SECONDS)
        await orphaned.remove()
    assert len(world.directory.sessions_of(ANN)) == 1
