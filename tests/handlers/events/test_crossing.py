"""Two who ask each other at once (docs/protocol.md section 8)."""

import pytest
from msgspec import Raw

from handlers.domain import disconnects
from handlers.events import connections, sessions
from schemas.connections import (
    ConnectionAccepted,
    ConnectionPending,
    ConnectionRejected,
    ConnectionRequest,
    ConnectionRequestReceived,
)
from schemas.errors import ErrorCode, Limit
from schemas.sessions import SessionCreated, SessionInvite, SessionUpdated
from stores.model import Request, Session, User
from stores.protocols import StoreUnreachableError
from tests.support.doubles import ANN, BOB, START, Seat, World, failing, refused

REF = Raw(b'"r"')
FAR = START + 30


@pytest.fixture
def world() -> World:
    return World()


async def couple(world: World) -> tuple[Seat, Seat]:
    ann, bob = [await world.join(token, capabilities=["sessions"]) for token in ("ann", "bob")]
    return ann, bob


async def request(seat: Seat, target_id: str) -> ConnectionPending | None:
    return await connections.request(ConnectionRequest(target_id=target_id), seat)


async def test_crossing(world: World) -> None:
    """The second request accepts the first: one session, the first asker its host, the answer with the `ref`."""
    ann, bob = await couple(world)
    request_id = await world.ask(ann, bob)
    bob.ref = REF
    assert await request(bob, "ann") is None
    (session,) = world.directory.sessions_of(ANN)
    assert (session.host, dict(session.participants)) == (ANN, {ANN: "host", BOB: "guest"})
    accepted = ConnectionAccepted(request_id=request_id, session_id=session.id, peer=world.peer(BOB).card)
    created = SessionCreated(session_id=session.id, peer=world.peer(ANN).card)
    assert world.delivery.calls[:2] == [("send", ANN, accepted, BOB), ("send", BOB, created, ANN, REF)]
    assert [type(call[2]) for call in world.delivery.calls[2:]] == [SessionUpdated, SessionUpdated]
    assert (world.directory.sizes().requests, bob.take_ref()) == (0, None)


async def test_what_does_not_cross(world: World) -> None:
    """Neither one's own request, nor one of or to somebody else, is answered by asking."""
    ann, bob = await couple(world)
    cat = await world.join("cat", capabilities=["sessions"])
    await world.ask(bob, cat)
    with refused(ErrorCode.REQUEST_TO_ONESELF):
        await request(bob, "bob")
    await request(bob, "cat")
    await request(ann, "bob")
    await request(cat, "ann")
    assert world.directory.sizes()[1:] == (4, 0)


@pytest.mark.parametrize("capable", [(), ("ann",), ("bob",)])
async def test_without_the_capability(world: World, capable: tuple[str, ...]) -> None:
    """Unless both have `sessions` there are two requests, as in version 1."""
    ann, bob = [await world.join(name, capabilities=["sessions"] if name in capable else []) for name in ("ann", "bob")]
    await world.ask(ann, bob)
    await request(bob, "ann")
    assert [type(event) for event in world.delivery.to(ANN)] == [ConnectionRequestReceived]
    assert world.directory.sizes()[1:] == (2, 0)


async def test_invitations_do_not_cross(world: World) -> None:
    """A request to one who invites to a session asks for another session, and so does an invitation."""
    ann, bob = await couple(world)
    await world.stores.sessions.put(Session("ses_1", ANN, {ANN: "host", User("cat"): "guest"}))
    await sessions.invite(SessionInvite(session_id="ses_1", target_id="bob"), ann)
    await request(bob, "ann")
    assert world.directory.sizes()[1:] == (2, 1)
    await sessions.invite(SessionInvite(session_id="ses_1", target_id="bob"), ann)
    assert world.directory.sizes()[1:] == (3, 1)


async def test_one_that_has_expired(world: World) -> None:
    """A request whose time is up is not answered any more, also before it is swept away."""
    ann, bob = await couple(world)
    await world.ask(ann, bob)
    world.clock.advance(30)
    await request(bob, "ann")
    assert world.directory.sizes()[1:] == (2, 0)


async def test_one_that_ends_just_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the first request is answered or expires just then, the second is a request like any other."""
    ann, bob = await couple(world)
    request_id = await world.ask(ann, bob)
    take = world.stores.requests.take

    async def take_late(which: str) -> Request | None:
        await take(request_id)
        return await take(which)

    monkeypatch.setattr(world.stores.requests, "take", take_late)
    bob.ref = REF
    assert isinstance(await request(bob, "ann"), ConnectionPending)
    assert world.directory.sizes()[1:] == (1, 0)


async def test_one_that_comes_first_just_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the other's request gets into the store first, as over another node, that is the one that is accepted."""
    _, bob = await couple(world)
    add = world.stores.requests.add

    async def add_late(mine: Request) -> None:
        await add(Request("req_first", ANN, BOB, FAR))
        await add(mine)

    monkeypatch.setattr(world.stores.requests, "add", add_late)
    bob.ref = REF
    assert await request(bob, "ann") is None
    (session,) = world.directory.sessions_of(BOB)
    assert session.host == ANN
    assert [type(event) for event in world.delivery.to(ANN)] == [ConnectionAccepted, SessionUpdated]
    assert (world.directory.sizes().requests, bob.take_ref()) == (0, None)


async def test_one_that_comes_second_just_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the other's gets there later, the other accepts this one."""
    _, bob = await couple(world)
    add = world.stores.requests.add

    async def add_early(mine: Request) -> None:
        await add(mine)
        await add(Request("req_second", ANN, BOB, FAR))

    monkeypatch.setattr(world.stores.requests, "add", add_early)
    await request(bob, "ann")
    assert world.directory.sizes()[1:] == (2, 0)
    assert [type(event) for event in world.delivery.to(ANN)] == [ConnectionRequestReceived]


async def test_one_that_the_other_side_accepts_just_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the other side has taken this request meanwhile, as over another node, it makes the session, not both."""
    _, bob = await couple(world)
    add = world.stores.requests.add

    async def add_and_lose(mine: Request) -> None:
        await add(Request("req_first", ANN, BOB, FAR))
        await add(mine)
        await world.stores.requests.take(mine.id)

    monkeypatch.setattr(world.stores.requests, "add", add_and_lose)
    bob.ref = REF
    assert isinstance(await request(bob, "ann"), ConnectionPending)
    assert world.directory.sizes()[1:] == (1, 0)
    assert world.delivery.calls == []


@pytest.mark.parametrize("full", ["ann", "bob"])
async def test_no_room(full: str) -> None:
    """It is as if the first request were accepted: the second asker is refused, the first rejected as `full`."""
    world = World(sessions_per_user=1)
    ann, bob = await couple(world)
    request_id = await world.ask(ann, bob)
    await world.pair(ann if full == "ann" else bob, await world.join("cat"))
    with refused(ErrorCode.SESSION_FULL, Limit.SESSIONS):
        await request(bob, "ann")
    rejected = ConnectionRejected(request_id=request_id, target_id="bob", reason="full")
    assert world.delivery.calls == [("send", ANN, rejected, BOB)]
    assert world.directory.sizes().requests == 0


async def test_too_many_pending() -> None:
    """Accepting by asking needs no room for one more request."""
    world = World(requests_per_user=1)
    ann, bob = await couple(world)
    await world.ask(bob, await world.join("cat"))
    await world.ask(ann, bob)
    await request(bob, "ann")
    assert len(world.directory.sessions_of(ANN)) == 1


async def test_asking_one_who_dropped(world: World) -> None:
    """A request outlives a drop, so that asking back accepts it."""
    ann, bob = await couple(world)
    await world.ask(ann, bob)
    await disconnects.drop(ann)
    await request(bob, "ann")
    assert len(world.directory.sessions_of(BOB)) == 1


async def test_asking_one_who_just_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the first asker leaves just then, there is nobody to ask."""
    ann, bob = await couple(world)
    await world.ask(ann, bob)
    take = world.stores.requests.take

    async def take_late(which: str) -> Request | None:
        await world.stores.peers.remove(ANN)
        return await take(which)

    monkeypatch.setattr(world.stores.requests, "take", take_late)
    with refused(ErrorCode.PEER_NOT_FOUND):
        await request(bob, "ann")
    assert world.directory.sizes()[1:] == (0, 0)


async def test_a_store_that_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request still waits, and asking again accepts it."""
    ann, bob = await couple(world)
    await world.ask(ann, bob)
    with failing(monkeypatch, world.stores.sessions, "put", 1), pytest.raises(StoreUnreachableError):
        await request(bob, "ann")
    await request(bob, "ann")
    assert world.directory.sizes()[1:] == (0, 1)
