"""CONNECTION_REQUEST and CONNECTION_RESPONSE (docs/protocol.md sections 3 and 4)."""

from collections.abc import Awaitable, Callable, Iterable

import pytest

from handlers.domain import disconnects
from handlers.events import connections, peers, sessions
from schemas.connections import (
    ConnectionAccepted,
    ConnectionCancel,
    ConnectionCancelled,
    ConnectionRejected,
    ConnectionRequest,
    ConnectionRequestReceived,
    ConnectionResponse,
)
from schemas.errors import ErrorCode, Limit, RetryAfter
from schemas.fields import RejectReason
from schemas.peers import PeerRegister
from schemas.sessions import SessionCreated, SessionInvite
from stores.model import Request, Session, User
from stores.protocols import StoreUnreachableError
from tests.support.doubles import ANN, BOB, CAT, LIMITS, START, Seat, World, failing, refused


@pytest.fixture
def world() -> World:
    return World()


def rejected(request_id: str, reason: RejectReason | None = None, target_id: str = "bob") -> ConnectionRejected:
    return ConnectionRejected(request_id=request_id, target_id=target_id, reason=reason)


async def request(seat: Seat, target_id: str) -> None:
    await connections.request(ConnectionRequest(target_id=target_id), seat)


async def respond(seat: Seat, request_id: str, *, accepted: bool = True) -> None:
    await connections.respond(ConnectionResponse(request_id=request_id, accepted=accepted), seat)


async def test_request(world: World) -> None:
    """The target alone is told who asks; the request waits for its answer for a while."""
    ann = await world.join("ann")
    await world.join("bob")
    await request(ann, "bob")
    (pending,) = world.directory.requests_of(BOB)
    assert (pending.requester, pending.target, pending.expires_at) == (ANN, BOB, START + 30)
    assert pending.id.startswith("req_")
    received = ConnectionRequestReceived(request_id=pending.id, sender=world.peer(ANN).card)
    assert world.delivery.calls == [("send", BOB, received, ANN)]
    assert ann.socket.sent == []


@pytest.mark.parametrize(
    ("target_id", "code"),
    [
        ("ann", ErrorCode.REQUEST_TO_ONESELF),
        ("nobody", ErrorCode.PEER_NOT_FOUND),
        ("walled", ErrorCode.PEER_NOT_FOUND),
        ("unregistered", ErrorCode.PEER_NOT_FOUND),
        ("left", ErrorCode.PEER_NOT_FOUND),
        ("dropped", ErrorCode.TARGET_OFFLINE),
        ("superseded", ErrorCode.TARGET_OFFLINE),
    ],
)
async def test_request_refused(world: World, target_id: str, code: ErrorCode) -> None:
    """Only a peer of one's own org that is there, other than oneself, can be asked."""
    ann = await world.join("ann")
    await world.join("walled@acme")
    await world.enter("unregistered")
    await disconnects.leave(await world.join("left"))
    await disconnects.drop(await world.join("dropped"))
    await world.join("superseded")
    await world.enter("superseded")
    world.delivery.calls.clear()
    with refused(code):
        await request(ann, target_id)
    assert world.delivery.calls == []
    assert list(world.directory.requests_of(ANN)) == []


async def invite(seat: Seat, target_id: str) -> None:
    await sessions.invite(SessionInvite(session_id="ses_1", target_id=target_id), seat)


@pytest.mark.parametrize("ask", [request, invite])
async def test_too_many_for_one_who_is_away(ask: Callable[[Seat, str], Awaitable[None]]) -> None:
    """Of one who is away and may resume no more is asked than it can be told of; of one who is there, it is."""
    world = World(requests_per_user=2 * connections.REQUESTS_TO_ONE_AWAY)
    ann, cat = await world.join("ann"), await world.join("cat", capabilities=["sessions"])
    await world.stores.sessions.put(Session("ses_1", CAT, {CAT: "host", User("dan"): "guest"}))
    bob = await world.join("bob", capabilities=["resume"])
    await disconnects.drop(bob)
    for _ in range(connections.REQUESTS_TO_ONE_AWAY):
        await request(ann, "bob")
    with refused(ErrorCode.LOG_FULL):
        await ask(cat, "bob")
    assert list(world.directory.requests_of(CAT)) == []
    await world.join("bob", capabilities=["resume"])
    await ask(cat, "bob")


async def test_room_again_for_one_who_is_away() -> None:
    """What one who is away asked itself does not count, nor do requests that ended."""
    world = World(requests_per_user=2 * connections.REQUESTS_TO_ONE_AWAY)
    ann, bob = await world.join("ann"), await world.join("bob", capabilities=["resume"])
    await world.join("cat")
    for _ in range(connections.REQUESTS_TO_ONE_AWAY):
        await request(bob, "cat")
    await disconnects.drop(bob)
    for _ in range(connections.REQUESTS_TO_ONE_AWAY):
        await request(ann, "bob")
    first = next(iter(world.directory.requests_of(ANN)))
    await connections.withdraw(ConnectionCancel(request_id=first.id), ann)
    await request(ann, "bob")
    with refused(ErrorCode.LOG_FULL):
        await request(ann, "bob")


@pytest.mark.parametrize("capabilities", [["resume"], []])
async def test_requests_wait_for_a_return(world: World, capabilities: list[str]) -> None:
    """Who is back and has a log is told of each request that still waits for it, and of no other."""
    ann, cat = await world.join("ann"), await world.join("cat")
    bob = await world.join("bob", capabilities=["resume"])
    await disconnects.drop(bob)
    await request(ann, "bob")
    world.clock.advance(LIMITS.request_life)
    await request(cat, "bob")
    world.delivery.calls.clear()
    seat = await world.enter("bob", capabilities=capabilities)
    for _ in range(2):
        await peers.register(PeerRegister(), seat)
    waiting = [event.sender.id for event in world.delivery.to(BOB) if isinstance(event, ConnectionRequestReceived)]
    assert waiting == (["cat"] if capabilities else [])


async def test_acceptance(world: World) -> None:
    """Requester and responder are told of the session; the requester is host, whatever it registered as."""
    ann = await world.join("ann", PeerRegister(role="observer"))
    bob = await world.join("bob", PeerRegister(role="host"))
    request_id = await world.ask(ann, bob)
    await respond(bob, request_id)
    (session,) = world.directory.sessions_of(BOB)
    assert session.id.startswith("ses_")
    assert (session.host, dict(session.participants)) == (ANN, {ANN: "host", BOB: "guest"})
    assert list(world.directory.sessions_of(ANN)) == [session]
    accepted = ConnectionAccepted(request_id=request_id, session_id=session.id, peer=world.peer(BOB).card)
    created = SessionCreated(session_id=session.id, peer=world.peer(ANN).card)
    assert world.delivery.calls == [("send", ANN, accepted, BOB), ("send", BOB, created, ANN)]


async def test_refusal(world: World) -> None:
    """The requester is told, without a reason, and nothing else comes of it."""
    ann, bob = await world.join("ann"), await world.join("bob")
    request_id = await world.ask(ann, bob)
    await respond(bob, request_id, accepted=False)
    assert world.delivery.calls == [("send", ANN, rejected(request_id), BOB)]
    assert list(world.directory.sessions_of(ANN)) == []


@pytest.mark.parametrize("accepted", [True, False])
async def test_an_answer_counts_once(world: World, *, accepted: bool) -> None:
    """A second answer finds no request."""
    ann, bob = await world.join("ann"), await world.join("bob")
    request_id = await world.ask(ann, bob)
    await respond(bob, request_id, accepted=accepted)
    with refused(ErrorCode.REQUEST_NOT_FOUND):
        await respond(bob, request_id)


async def test_who_may_answer(world: World) -> None:
    """Neither the requester nor a third peer can answer; to another org there is no such request."""
    ann, bob = await world.join("ann"), await world.join("bob")
    cat, spy = await world.join("cat"), await world.join("bob@acme")
    request_id = await world.ask(ann, bob)
    for seat in (ann, cat):
        with refused(ErrorCode.NOT_THE_ONE_ASKED):
            await respond(seat, request_id)
    for seat, name in ((spy, request_id), (bob, "req_nope")):
        with refused(ErrorCode.REQUEST_NOT_FOUND):
            await respond(seat, name)
    await respond(bob, request_id)


async def test_expiry(world: World) -> None:
    """At the end of its 30 seconds a request is gone and its requester told so, once."""
    ann, bob = await world.join("ann"), await world.join("bob")
    request_id = await world.ask(ann, bob)
    world.clock.advance(29.9)
    await connections.expire_requests(world.services)
    assert world.delivery.calls == []
    world.clock.advance(0.1)
    await connections.expire_requests(world.services)
    await connections.expire_requests(world.services)
    assert world.delivery.calls == [("send", ANN, rejected(request_id, "expired"), BOB)]
    with refused(ErrorCode.REQUEST_NOT_FOUND):
        await respond(bob, request_id)


async def test_too_many_pending() -> None:
    """Who has too many requests waiting is refused with the time after which one more may fit."""
    world = World(requests_per_user=2)
    ann, bob, cat = [await world.join(token) for token in ("ann", "bob", "cat")]
    first = await world.ask(ann, bob)
    world.clock.advance(10)
    await world.ask(ann, cat)
    await world.ask(bob, ann)
    with refused(ErrorCode.RATE_LIMITED, Limit.PENDING_REQUESTS) as info:
        await request(ann, "cat")
    assert info.value.details == RetryAfter(retry_after_ms=20_000)
    await respond(bob, first, accepted=False)
    await request(ann, "cat")


async def test_too_many_sessions_to_ask() -> None:
    """Who is in too many sessions can ask for no more."""
    world = World(sessions_per_user=1)
    ann, bob, _ = [await world.join(token) for token in ("ann", "bob", "cat")]
    await world.pair(ann, bob)
    with refused(ErrorCode.SESSION_FULL, Limit.SESSIONS):
        await request(ann, "cat")


@pytest.mark.parametrize("full", ["requester", "responder"])
async def test_too_many_sessions_to_accept(full: str) -> None:
    """If either is in too many sessions by then, the responder is refused and the requester rejected as `full`."""
    world = World(sessions_per_user=1)
    ann, bob, cat = [await world.join(token) for token in ("ann", "bob", "cat")]
    request_id = await world.ask(ann, bob)
    await world.pair(ann if full == "requester" else bob, cat)
    with refused(ErrorCode.SESSION_FULL):
        await respond(bob, request_id)
    assert world.delivery.calls == [("send", ANN, rejected(request_id, "full"), BOB)]
    with refused(ErrorCode.REQUEST_NOT_FOUND):
        await respond(bob, request_id)


async def test_a_request_outlives_a_drop(world: World) -> None:
    """A request whose requester dropped can still be accepted; the session is there when it returns."""
    ann, bob = await world.join("ann"), await world.join("bob")
    request_id = await world.ask(ann, bob)
    await disconnects.drop(ann)
    await respond(bob, request_id)
    assert [type(event) for event in world.delivery.to(ANN)] == [ConnectionAccepted]
    await world.join("ann")
    assert len(world.directory.sessions_of(User("ann"))) == 1


@pytest.mark.parametrize("capabilities", [None, [], ["resume", "acks", "notices"]])
async def test_whom_an_end_is_not_told(world: World, capabilities: list[str] | None) -> None:
    """A target without `sessions` hears nothing of requests that end, and not until when it can answer."""
    ann, bob = await world.join("ann", capabilities=["sessions"]), await world.join("bob", capabilities=capabilities)
    await request(ann, "bob")
    (received,) = world.delivery.to(BOB)
    (pending,) = world.directory.requests_of(BOB)
    assert received == ConnectionRequestReceived(request_id=pending.id, sender=world.peer(ANN).card)
    await connections.withdraw(ConnectionCancel(request_id=pending.id), ann)
    await request(ann, "bob")
    world.clock.advance(30)
    await connections.expire_requests(world.services)
    await request(ann, "bob")
    await disconnects.leave(ann)
    assert [type(event) for event in world.delivery.to(BOB)] == [ConnectionRequestReceived] * 3
    assert list(world.directory.requests_of(BOB)) == []
    assert bob.socket.sent == []


async def test_expiry_told_to_both(world: World) -> None:
    """A target with `sessions` is told until when it can answer, and that it cannot any more."""
    ann, _ = await world.join("ann"), await world.join("bob", capabilities=["sessions"])
    await request(ann, "bob")
    (pending,) = world.directory.requests_of(BOB)
    world.clock.advance(30)
    await connections.expire_requests(world.services)
    card = world.peer(ANN).card
    assert world.delivery.to(BOB) == [
        ConnectionRequestReceived(request_id=pending.id, sender=card, expires_at="at 30"),
        ConnectionCancelled(request_id=pending.id, reason="expired"),
    ]
    assert world.delivery.to(ANN) == [rejected(pending.id, "expired")]


async def test_several_expire_and_one_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake about one of them does not keep the others from being told, and is raised."""
    ann, bob, cat = [await world.join(token) for token in ("ann", "bob", "cat")]
    for asker in (ann, cat):
        await request(asker, "bob")
    send, (first, second) = world.delivery.send, world.directory.requests_of(bob.user)

    def fail_first(users: Iterable[User], event: ConnectionRejected, *args: User, **kwargs: User) -> None:
        if event.request_id == first.id:
            raise ZeroDivisionError
        send(users, event, *args)

    monkeypatch.setattr(world.delivery, "send", fail_first)
    world.clock.advance(30)
    with pytest.raises(ZeroDivisionError):
        await connections.expire_requests(world.services)
    assert rejected(second.id, "expired") in world.delivery.to(cat.user)


async def test_accepting_one_who_just_left(world: World) -> None:
    """Whoever accepts when the requester is gone is refused, and told that the request is over."""
    ann, bob = await world.join("ann"), await world.join("bob", capabilities=["sessions"])
    request_id = await world.ask(ann, bob)
    await world.stores.peers.remove(ANN)  # its requests are about to be ended
    with refused(ErrorCode.REQUEST_NOT_FOUND):
        await respond(bob, request_id)
    assert world.delivery.to(BOB) == [ConnectionCancelled(request_id=request_id, reason="offline")]
    assert list(world.directory.requests_of(BOB)) == []


@pytest.mark.parametrize("gone", [ANN, BOB])
async def test_leaving_while_a_session_is_made(world: World, monkeypatch: pytest.MonkeyPatch, gone: User) -> None:
    """A session of which one side left while it was made is none, and the other side is told."""
    ann, bob = await world.join("ann"), await world.join("bob", capabilities=["sessions"])
    request_id = await world.ask(ann, bob)
    put = world.stores.sessions.put

    async def put_late(session: Session) -> None:
        await put(session)
        await world.stores.peers.remove(gone)

    monkeypatch.setattr(world.stores.sessions, "put", put_late)
    with refused(ErrorCode.REQUEST_NOT_FOUND):
        await respond(bob, request_id)
    assert world.directory.sizes().sessions == 0
    if gone == ANN:
        assert world.delivery.to(BOB) == [ConnectionCancelled(request_id=request_id, reason="offline")]
    else:
        assert world.delivery.to(ANN) == [rejected(request_id, "offline")]


@pytest.mark.parametrize("gone", [ANN, BOB])
async def test_leaving_while_a_request_is_made(world: World, monkeypatch: pytest.MonkeyPatch, gone: User) -> None:
    """A request of which one side left while it was made is taken back, since nobody else would end it."""
    ann, _ = await world.join("ann"), await world.join("bob")
    add = world.stores.requests.add

    async def add_late(request: Request) -> None:
        await world.stores.peers.remove(gone)
        await add(request)

    monkeypatch.setattr(world.stores.requests, "add", add_late)
    with refused(ErrorCode.PEER_NOT_FOUND if gone == BOB else ErrorCode.REQUEST_NOT_FOUND):
        await request(ann, "bob")
    assert (world.directory.sizes().requests, world.delivery.calls) == (0, [])


async def test_accepting_while_the_store_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that could not be answered, as the store was away, can be answered when it is back."""
    ann, bob = await world.join("ann"), await world.join("bob")
    request_id = await world.ask(ann, bob)
    with (
        failing(monkeypatch, world.stores.sessions, "put", 1),
        failing(monkeypatch, world.stores.requests, "add", 1),
        pytest.raises(StoreUnreachableError),
    ):
        await respond(bob, request_id)
    assert world.directory.request(request_id) is None
    await world.services.retries.retry()
    await respond(bob, request_id)
    assert len(world.directory.sessions_of(ANN)) == 1
