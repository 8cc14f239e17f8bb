"""Sessions of more than two (docs/protocol.md section 8, "sessions")."""

from collections.abc import Awaitable, Callable

import pytest
from msgspec import Raw
from msgspec.structs import replace

from handlers.domain import disconnects, membership
from handlers.events import auth, connections, messages, peers, sessions
from handlers.table import merge
from schemas.auth import Resume
from schemas.connections import (
    ConnectionAccepted,
    ConnectionCancel,
    ConnectionCancelled,
    ConnectionPending,
    ConnectionRejected,
    ConnectionRequest,
    ConnectionRequestReceived,
    ConnectionResponse,
)
from schemas.errors import ErrorCode, Limit
from schemas.fields import CancelReason, ChangeKind, EndReason, InvitedRole, Role
from schemas.messages import SendMessage
from schemas.peers import Metadata, PeerRegister
from schemas.prices import PARTICIPANTS_PER_EVENT
from schemas.sessions import (
    Change,
    SessionCreated,
    SessionEnd,
    SessionEnded,
    SessionHandover,
    SessionInvite,
    SessionKick,
    SessionLeave,
    SessionList,
    SessionRole,
    SessionState,
    SessionUpdated,
)
from stores.memory.journal import Journal
from stores.memory.stores import MemorySessions, MemoryStores
from stores.model import Request, Revocation, Session, User
from tests.support.doubles import ANN, BOB, CAT, START, Seat, World, failing, presented, refused

DAN, EVE = User("dan"), User("eve")
MODERN = ["sessions"]
REF = Raw(b'"r"')
Seats = dict[User, Seat]


@pytest.fixture
def world() -> World:
    return World()


async def seats(world: World, *names: str, capabilities: list[str] | None = None) -> Seats:
    """Register peers; nothing of that stays written down."""
    taken = [await world.join(name, capabilities=MODERN if capabilities is None else capabilities) for name in names]
    return {seat.user: seat for seat in taken}


async def invite(
    world: World, host: Seat, target: User, session_id: str = "ses_1", role: InvitedRole | None = None
) -> str:
    """Invite; return the request's id. Nothing of that stays written down."""
    await sessions.invite(SessionInvite(session_id=session_id, target_id=target.id, role=role), host)
    world.delivery.calls.clear()
    return list(world.directory.requests_of(host.user))[-1].id


async def respond(seat: Seat, request_id: str, *, accepted: bool = True) -> None:
    await connections.respond(ConnectionResponse(request_id=request_id, accepted=accepted), seat)


async def meet(world: World, **roles: Role) -> Seats:
    """Put registered peers into `ses_1`, the first as its host."""
    there = await seats(world, *roles)
    await world.stores.sessions.put(Session("ses_1", next(iter(there)), dict(zip(there, roles.values(), strict=True))))
    return there


async def meet_four(world: World) -> Seats:
    return await meet(world, ann="host", bob="observer", cat="guest", dan="guest")


def roles(world: World, session_id: str = "ses_1") -> dict[str, Role]:
    """Return who is in a session in which role, in order; the host's has to be the host's."""
    session = world.directory.session(session_id)
    assert session is not None
    assert [user for user, role in session.participants.items() if role == "host"] == [session.host]
    return {user.id: role for user, role in session.participants.items()}


def told(world: World, user: User) -> list[tuple[str, str]]:
    """Return the changes of sessions that a user was told of."""
    updates = [event for event in world.delivery.to(user) if isinstance(event, SessionUpdated)]
    return [(update.change.kind, update.change.id) for update in updates]


def assert_told(world: World, kind: ChangeKind, who: User, *users: User) -> None:
    """See that these users, and they only, were sent this one change, with the session as it is now."""
    session = world.directory.session("ses_1")
    assert session is not None
    state = membership.participants(world.directory, session)
    updated = SessionUpdated(
        session_id="ses_1", host_id=session.host.id, participants=state, change=Change(kind=kind, id=who.id)
    )
    updates = [call[1:3] for call in world.delivery.named("send") if isinstance(call[2], SessionUpdated)]
    assert updates == [(user, updated) for user in users]


def ended(reason: EndReason) -> SessionEnded:
    return SessionEnded(session_id="ses_1", reason=reason)


async def leave(seat: Seat) -> None:
    await sessions.leave(SessionLeave(session_id="ses_1"), seat)


async def leave_to(seat: Seat, _target: User) -> None:
    await leave(seat)


async def kick(seat: Seat, target: User) -> None:
    await sessions.kick(SessionKick(session_id="ses_1", target_id=target.id), seat)


async def give(seat: Seat, target: User, role: InvitedRole = "observer") -> None:
    await sessions.give_role(SessionRole(session_id="ses_1", target_id=target.id, role=role), seat)


async def hand_over(seat: Seat, target: User) -> None:
    await sessions.hand_over(SessionHandover(session_id="ses_1", target_id=target.id), seat)


async def end(seat: Seat, _target: User | None = None) -> None:
    await sessions.end(SessionEnd(session_id="ses_1"), seat)


async def invite_to_it(seat: Seat, target: User) -> None:
    await sessions.invite(SessionInvite(session_id="ses_1", target_id=target.id), seat)


HOSTS_ONLY = [kick, give, hand_over, end, invite_to_it]
OF_ANOTHER = [kick, give, hand_over]
Act = Callable[[Seat, User], Awaitable[None]]


def test_capability() -> None:
    """Every event of sessions needs the capability."""
    routes = merge([sessions.table, connections.table])
    plain = {event for event, route in routes.items() if route.capability != "sessions"}
    assert plain == {"CONNECTION_REQUEST", "CONNECTION_RESPONSE"}


async def test_making_a_session(world: World) -> None:
    """Both are told of the session first, then that the responder joined."""
    ann, bob = (await seats(world, "ann", "bob")).values()
    await respond(bob, await world.ask(ann, bob))
    assert [type(event) for event in world.delivery.to(ANN)] == [ConnectionAccepted, SessionUpdated]
    assert [type(event) for event in world.delivery.to(BOB)] == [SessionCreated, SessionUpdated]
    (updated,) = [event for event in world.delivery.to(BOB) if isinstance(event, SessionUpdated)]
    assert (updated.host_id, updated.change) == ("ann", Change(kind="joined", id="bob"))
    shown = [(each.id, each.role, each.profile, each.connected) for each in updated.participants]
    profiles = [world.peer(user).profile for user in (ANN, BOB)]
    assert shown == [("ann", "host", profiles[0], True), ("bob", "guest", profiles[1], True)]


@pytest.mark.parametrize(("role", "given"), [(None, "guest"), ("guest", "guest"), ("observer", "observer")])
async def test_invitation(world: World, role: InvitedRole | None, given: Role) -> None:
    """The target is told who asks, to which session and in what role, and joins in it when it accepts."""
    ann, bob, cat = (await seats(world, "ann", "bob", "cat")).values()
    session_id = await world.pair(ann, bob)
    await sessions.invite(SessionInvite(session_id=session_id, target_id="cat", role=role), ann)
    (request,) = world.directory.requests_of(CAT)
    received = ConnectionRequestReceived(
        request_id=request.id, sender=world.peer(ANN).card, session_id=session_id, role=given, expires_at="at 30"
    )
    assert world.delivery.calls == [("send", CAT, received, ANN)]
    world.delivery.calls.clear()
    cat.ref = REF
    await respond(cat, request.id)
    accepted = ConnectionAccepted(request_id=request.id, session_id=session_id, peer=world.peer(CAT).card)
    created = SessionCreated(session_id=session_id, peer=world.peer(ANN).card)
    assert world.delivery.calls[:2] == [("send", ANN, accepted, CAT), ("send", CAT, created, ANN, REF)]
    assert roles(world, session_id) == {"ann": "host", "bob": "guest", "cat": given}
    assert [told(world, user) for user in (ANN, BOB, CAT)] == [[("joined", "cat")]] * 3


async def test_version_1(world: World) -> None:
    """Who sent no capabilities is invited without a word of sessions, can join, and is told of no change."""
    ann, bob = (await seats(world, "ann", "bob")).values()
    cat = await world.join("cat")
    session_id = await world.pair(ann, bob)
    await sessions.invite(SessionInvite(session_id=session_id, target_id="cat"), ann)
    (request,) = world.directory.requests_of(CAT)
    assert world.delivery.to(CAT) == [ConnectionRequestReceived(request_id=request.id, sender=world.peer(ANN).card)]
    await respond(cat, request.id)
    assert [type(event) for event in world.delivery.to(CAT)] == [ConnectionRequestReceived, SessionCreated]
    assert told(world, ANN) == told(world, BOB) == [("joined", "cat")]


async def test_refused_invitation(world: World) -> None:
    """The inviter is told as ever, and the session is as it was."""
    there = await meet(world, ann="host", bob="guest")
    cat = await world.join("cat", capabilities=MODERN)
    request_id = await invite(world, there[ANN], CAT)
    await respond(cat, request_id, accepted=False)
    assert world.delivery.calls == [("send", ANN, ConnectionRejected(request_id=request_id, target_id="cat"), CAT)]
    assert roles(world) == {"ann": "host", "bob": "guest"}


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (ANN, ErrorCode.INVALID_DATA),
        (BOB, ErrorCode.INVALID_DATA),
        (User("nobody"), ErrorCode.PEER_NOT_FOUND),
        (User("dropped"), ErrorCode.TARGET_OFFLINE),
    ],
)
async def test_whom_to_invite(world: World, target: User, code: ErrorCode) -> None:
    """Only a peer who is there and not in the session can be invited."""
    there = await meet(world, ann="host", bob="guest")
    await disconnects.drop(await world.join("dropped"))
    with refused(code):
        await invite_to_it(there[ANN], target)
    assert list(world.directory.requests_of(ANN)) == []


async def test_pending(world: World) -> None:
    """Who gave a `ref` is told of what is pending, and until when; who gave none is not."""
    there = await meet(world, ann="host", bob="guest")
    ann = there[ANN]
    await seats(world, "cat")
    world.clock.advance(5)
    message = SessionInvite(session_id="ses_1", target_id="cat")
    assert await sessions.invite(message, ann) is None
    assert await connections.request(ConnectionRequest(target_id="cat"), ann) is None
    ann.ref = REF
    answers = [
        await sessions.invite(message, ann),
        await connections.request(ConnectionRequest(target_id="cat"), ann),
    ]
    made = list(world.directory.requests_of(CAT))[2:]
    assert answers == [ConnectionPending(request_id=each.id, target_id="cat", expires_at="at 35") for each in made]


async def test_an_invitation_expires(world: World) -> None:
    """An invitation lives as long as any request."""
    there = await meet(world, ann="host", bob="guest")
    await seats(world, "cat")
    request_id = await invite(world, there[ANN], CAT)
    world.clock.advance(30)
    await connections.expire_requests(world.services)
    expired = ConnectionRejected(request_id=request_id, target_id="cat", reason="expired")
    cancelled = ConnectionCancelled(request_id=request_id, reason="expired")
    assert world.delivery.calls == [("send", ANN, expired, CAT), ("send", CAT, cancelled, None)]


async def over(world: World, there: Seats) -> None:
    await end(there[ANN])


async def alone(world: World, there: Seats) -> None:
    await leave(there[BOB])
    await leave(there[DAN])


async def handed_over(world: World, there: Seats) -> None:
    await hand_over(there[ANN], BOB)
    await hand_over(there[BOB], ANN)


async def host_left(world: World, there: Seats) -> None:
    await leave(there[ANN])


async def host_gone(world: World, there: Seats) -> None:
    await disconnects.leave(there[ANN])


async def withdrawn(world: World, there: Seats) -> None:
    (request,) = world.directory.requests_of(CAT)
    await connections.withdraw(ConnectionCancel(request_id=request.id), there[ANN])


async def host_lapsed(world: World, there: Seats) -> None:
    await lapse(there[ANN], world)


async def host_revoked(world: World, there: Seats) -> None:
    world.delivery.here = [ANN]
    await disconnects.revoke(Revocation(START + 9, user=ANN, issued_before=START + 1), world.services)


async def expired(world: World, _there: Seats) -> None:
    world.clock.advance(30)
    await connections.expire_requests(world.services)


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        (over, "cancelled"),
        (alone, "cancelled"),
        (handed_over, "cancelled"),
        (host_left, "cancelled"),
        (withdrawn, "cancelled"),
        (host_gone, "offline"),
        (host_lapsed, "offline"),
        (host_revoked, "offline"),
        (expired, "expired"),
    ],
)
async def test_an_invitation_dies(
    world: World, way: Callable[[World, Seats], Awaitable[None]], reason: CancelReason
) -> None:
    """With its session, or when its inviter is host no more: its target is told, once, and finds no request."""
    there = await meet(world, ann="host", bob="guest", dan="guest")
    cat, eve = (await seats(world, "cat", "eve")).values()
    request_id = await invite(world, there[ANN], CAT)
    asked = await world.ask(there[BOB], eve)
    await way(world, there)
    assert world.delivery.to(CAT) == [ConnectionCancelled(request_id=request_id, reason=reason)]
    with refused(ErrorCode.REQUEST_NOT_FOUND):
        await respond(cat, request_id)
    if reason != "expired":
        assert world.directory.request(asked) is not None


async def test_an_invitation_outlives_other_changes(world: World) -> None:
    """While its inviter is host, whatever else changes."""
    there = await meet_four(world)
    eve = (await seats(world, "eve"))[EVE]
    request_id = await invite(world, there[ANN], EVE)
    await kick(there[ANN], BOB)
    await leave(there[CAT])
    await disconnects.drop(there[DAN])
    await respond(eve, request_id)
    assert list(roles(world)) == ["ann", "dan", "eve"]


async def test_a_request_dies_with_its_requester(world: World) -> None:
    """The target of any request is told when the requester leaves."""
    ann, bob = (await seats(world, "ann", "bob")).values()
    request_id = await world.ask(ann, bob)
    await disconnects.leave(ann)
    assert world.delivery.to(BOB) == [ConnectionCancelled(request_id=request_id, reason="offline")]


async def test_joining_by_one_of_two_invitations(world: World) -> None:
    """The other one is void, so that nobody who was kicked comes back by it; other requests are not."""
    there = await meet(world, ann="host", bob="guest")
    cat = await world.join("cat", capabilities=MODERN)
    asked = await world.ask(there[BOB], cat)
    first, second = await invite(world, there[ANN], CAT), await invite(world, there[ANN], CAT)
    await respond(cat, first)
    assert ConnectionCancelled(request_id=second, reason="cancelled") in world.delivery.to(CAT)
    assert [each.id for each in world.directory.requests_of(CAT)] == [asked]
    await kick(there[ANN], CAT)
    with refused(ErrorCode.REQUEST_NOT_FOUND):
        await respond(cat, second)


@pytest.mark.parametrize("what", ["session", "responder"])
async def test_no_room(what: str) -> None:
    """Accepting what there is no room for is refused, the inviter told `full`, and the invitation used up."""
    world = World(session_participants=2 if what == "session" else 30, sessions_per_user=2)
    there = await meet(world, ann="host", bob="observer")
    cat = await world.join("cat", capabilities=MODERN)
    if what == "responder":
        for number in (2, 3):
            await world.stores.sessions.put(Session(f"ses_{number}", CAT, {CAT: "host", DAN: "guest"}))
    request_id = await invite(world, there[ANN], CAT)
    with refused(ErrorCode.SESSION_FULL, Limit.PARTICIPANTS if what == "session" else Limit.SESSIONS):
        await respond(cat, request_id)
    full = ConnectionRejected(request_id=request_id, target_id="cat", reason="full")
    assert world.delivery.calls == [("send", ANN, full, CAT)]
    assert roles(world) == {"ann": "host", "bob": "observer"}
    with refused(ErrorCode.REQUEST_NOT_FOUND):
        await respond(cat, request_id)


async def test_room_for_one_who_is_in_none() -> None:
    """The inviter's own number of sessions does not matter, since it is in this one already."""
    world = World(sessions_per_user=1)
    there = await meet(world, ann="host", bob="guest")
    cat = await world.join("cat", capabilities=MODERN)
    await respond(cat, await invite(world, there[ANN], CAT))
    assert list(roles(world)) == ["ann", "bob", "cat"]


async def test_leaving(world: World) -> None:
    """Who leaves is out without an answer of its own; the others are told."""
    there = await meet_four(world)
    await leave(there[CAT])
    assert roles(world) == {"ann": "host", "bob": "observer", "dan": "guest"}
    assert_told(world, "left", CAT, ANN, BOB, DAN)
    assert world.delivery.to(CAT) == []
    with refused(ErrorCode.NOT_A_PARTICIPANT):
        messages.send_message(SendMessage(session_id="ses_1", content=Raw(b"1")), there[CAT])


async def lapse(seat: Seat, world: World) -> None:
    await disconnects.drop(seat)
    world.clock.advance(30)
    world.delivery.calls.clear()
    await disconnects.expire_absences(world.services)


async def leave_it(seat: Seat, _world: World) -> None:
    await leave(seat)


async def go(seat: Seat, _world: World) -> None:
    await disconnects.leave(seat)


@pytest.mark.parametrize("way", [leave_it, go, lapse])
async def test_the_host_goes(world: World, way: Callable[[Seat, World], Awaitable[None]]) -> None:
    """The guest who is there longest becomes host, before any observer; the others are told of both."""
    there = await meet_four(world)
    await way(there[ANN], world)
    assert roles(world) == {"bob": "observer", "cat": "host", "dan": "guest"}
    for user in (BOB, CAT, DAN):
        updates = [event for event in world.delivery.to(user) if isinstance(event, SessionUpdated)]
        assert [update.change for update in updates] == [Change(kind="left", id="ann"), Change(kind="host", id="cat")]
        assert {update.host_id for update in updates} == {"cat"}
        assert [[each.id for each in update.participants] for update in updates] == [["bob", "cat", "dan"]] * 2
    assert told(world, ANN) == []


async def test_the_host_leaves_observers(world: World) -> None:
    """If no guest is left, the observer who is there longest becomes host."""
    there = await meet(world, ann="host", bob="observer", cat="observer")
    await leave(there[ANN])
    assert roles(world) == {"bob": "host", "cat": "observer"}


async def test_several_lapse_at_once(world: World) -> None:
    """Nobody who is being given up too becomes host, or is shown."""
    there = await meet(world, ann="host", bob="guest", cat="observer", dan="observer")
    await disconnects.drop(there[ANN])
    await lapse(there[BOB], world)
    assert roles(world) == {"cat": "host", "dan": "observer"}
    updates = [event for event in world.delivery.to(DAN) if isinstance(event, SessionUpdated)]
    assert told(world, DAN) == [("left", "ann"), ("host", "cat"), ("left", "bob")]
    assert {tuple(each.id for each in update.participants) for update in updates} == {("cat", "dan")}


@pytest.mark.parametrize("leaver", [ANN, BOB])
async def test_leaving_one_alone(world: World, leaver: User) -> None:
    """One left alone is told that the session is over; it is, for both."""
    there = await meet(world, ann="host", bob="guest")
    await leave(there[leaver])
    (other,) = {ANN, BOB} - {leaver}
    assert world.delivery.calls == [("send", other, ended("left"), None)]
    assert world.directory.session("ses_1") is None


async def test_kicking(world: World) -> None:
    """The kicked one's session ends, the others are told."""
    there = await meet_four(world)
    await kick(there[ANN], CAT)
    assert roles(world) == {"ann": "host", "bob": "observer", "dan": "guest"}
    assert world.delivery.to(CAT) == [ended("kicked")]
    assert_told(world, "kicked", CAT, ANN, BOB, DAN)


async def test_kicking_the_last_one(world: World) -> None:
    """A host that is left alone by its kick is told that the session ended, not that it was kicked."""
    there = await meet(world, ann="host", bob="guest")
    await kick(there[ANN], BOB)
    assert (world.delivery.to(BOB), world.delivery.to(ANN)) == ([ended("kicked")], [ended("ended")])
    assert world.directory.session("ses_1") is None


async def test_coming_back(world: World) -> None:
    """A kicked peer comes back by a new invitation."""
    there = await meet_four(world)
    await kick(there[ANN], CAT)
    await respond(there[CAT], await invite(world, there[ANN], CAT))
    assert list(roles(world)) == ["ann", "bob", "dan", "cat"]


@pytest.mark.parametrize(("target", "role"), [(BOB, "guest"), (CAT, "observer"), (CAT, "guest")])
async def test_role(world: World, target: User, role: InvitedRole) -> None:
    """The host makes guests of observers and observers of guests, who keep their place."""
    there = await meet_four(world)
    before = roles(world)
    await give(there[ANN], target, role)
    assert list(roles(world).items()) == list({**before, target.id: role}.items())
    assert_told(world, "role", target, ANN, BOB, CAT, DAN)


async def test_handover(world: World) -> None:
    """Another participant, an observer too, becomes host; the old host is a guest, and every right goes over."""
    there = await meet_four(world)
    await hand_over(there[ANN], BOB)
    assert list(roles(world).items()) == [("ann", "guest"), ("bob", "host"), ("cat", "guest"), ("dan", "guest")]
    assert_told(world, "host", BOB, ANN, BOB, CAT, DAN)
    with refused(ErrorCode.NOT_ALLOWED):
        await kick(there[ANN], CAT)
    await kick(there[BOB], ANN)


async def test_ending(world: World) -> None:
    """Everybody is told that the session ended, the host too."""
    there = await meet_four(world)
    await end(there[ANN])
    assert world.delivery.calls == [("send", user, ended("ended"), None) for user in (ANN, BOB, CAT, DAN)]
    assert world.directory.session("ses_1") is None


@pytest.mark.parametrize("act", HOSTS_ONLY)
async def test_who_may(world: World, act: Act) -> None:
    """Only the host; neither a guest, an observer, nor somebody from outside or from behind the wall."""
    there = await meet_four(world)
    await seats(world, "eve")
    outsiders = await seats(world, "fay", "ann@acme")
    before = roles(world)
    for user, code in ((BOB, ErrorCode.NOT_ALLOWED), (CAT, ErrorCode.NOT_ALLOWED)):
        with refused(code):
            await act(there[user], EVE)
    for seat in outsiders.values():
        with refused(ErrorCode.NOT_A_PARTICIPANT):
            await act(seat, EVE)
    assert (world.delivery.calls, roles(world)) == ([], before)


@pytest.mark.parametrize("act", HOSTS_ONLY)
async def test_no_session(world: World, act: Act) -> None:
    """What never was or is over cannot be changed."""
    (ann,) = (await seats(world, "ann")).values()
    with refused(ErrorCode.SESSION_NOT_FOUND):
        await act(ann, BOB)
    with refused(ErrorCode.SESSION_NOT_FOUND):
        await leave(ann)


async def test_leaving_what_one_is_not_in(world: World) -> None:
    """Only a participant can leave."""
    await meet_four(world)
    (eve,) = (await seats(world, "eve")).values()
    with refused(ErrorCode.NOT_A_PARTICIPANT):
        await leave(eve)


@pytest.mark.parametrize("act", OF_ANOTHER)
@pytest.mark.parametrize(("target", "code"), [(ANN, ErrorCode.INVALID_DATA), (EVE, ErrorCode.NOT_A_PARTICIPANT)])
async def test_to_whom(world: World, act: Act, target: User, code: ErrorCode) -> None:
    """Neither oneself, nor somebody who is not in the session."""
    there = await meet_four(world)
    await seats(world, "eve")
    before = roles(world)
    with refused(code):
        await act(there[ANN], target)
    assert (world.delivery.calls, roles(world)) == ([], before)


async def drop(world: World, seat: Seat) -> Seat:
    await disconnects.drop(seat)
    return await world.enter(seat.user.id, capabilities=MODERN)


async def supersede(world: World, seat: Seat) -> Seat:
    new = world.open()
    await auth.authenticate(presented(seat.user.id, MODERN), new)
    return new


@pytest.mark.parametrize("way", [drop, supersede])
async def test_dropping_and_returning(world: World, way: Callable[[World, Seat], Awaitable[Seat]]) -> None:
    """A session is told that a participant dropped, once, and that it returned when it has registered again."""
    there = await meet_four(world)
    new = await way(world, there[CAT])
    assert_told(world, "dropped", CAT, ANN, BOB, CAT, DAN)
    assert connected(world, ANN) == {"ann": True, "bob": True, "cat": False, "dan": True}
    world.delivery.calls.clear()
    await disconnects.drop(new)
    assert told(world, ANN) == []
    again = await world.enter("cat", capabilities=MODERN)
    await peers.register(PeerRegister(), again)
    assert_told(world, "returned", CAT, ANN, BOB, CAT, DAN)
    assert set(connected(world, ANN).values()) == {True}
    world.delivery.calls.clear()
    await peers.register(PeerRegister(), again)
    assert told(world, ANN) == []


def connected(world: World, user: User) -> dict[str, bool]:
    update = world.delivery.to(user)[-1]
    assert isinstance(update, SessionUpdated)
    return {each.id: each.connected for each in update.participants}


async def resume(world: World, user: User) -> None:
    world.delivery.recoverable.add("token")
    message = presented(user.id, ["resume", *MODERN], Resume(token="token", offset=0))
    await auth.authenticate(message, world.open())


async def resuming(world: World) -> Seat:
    """Put bob, who speaks `resume`, into a session with ann and dan."""
    await seats(world, "ann", "dan")
    (bob,) = (await seats(world, "bob", capabilities=["resume", *MODERN])).values()
    await world.stores.sessions.put(Session("ses_1", ANN, {ANN: "host", BOB: "guest", DAN: "guest"}))
    return bob


async def test_dropping_and_resuming(world: World) -> None:
    """It is the same for a peer that resumes; its return is told when it is restored."""
    bob = await resuming(world)
    await disconnects.drop(bob)
    assert_told(world, "dropped", BOB, ANN, BOB, DAN)
    world.delivery.calls.clear()
    await resume(world, BOB)
    assert_told(world, "returned", BOB, ANN, BOB, DAN)


async def test_resuming_without_a_drop(world: World) -> None:
    """A socket that resumes while the old one is still there was never away to others."""
    await resuming(world)
    await resume(world, BOB)
    assert told(world, ANN) == []


async def test_not_resuming_after_a_drop(world: World) -> None:
    """Authenticating anew, without resuming, is no second drop."""
    await disconnects.drop(await resuming(world))
    world.delivery.calls.clear()
    await world.enter("bob", capabilities=MODERN)
    assert told(world, ANN) == []


async def test_list(world: World) -> None:
    """One's own sessions are listed in the order of joining, as they are; nobody else's."""
    there = await meet_four(world)
    await world.stores.sessions.put(Session("ses_2", BOB, {BOB: "host", DAN: "guest"}))
    await world.stores.sessions.put(Session("ses_3", DAN, {DAN: "host", ANN: "guest"}))
    await disconnects.drop(there[DAN])
    listed = sessions.list_sessions(SessionList(), there[ANN]).sessions
    assert [(state.session_id, state.host_id) for state in listed] == [("ses_1", "ann"), ("ses_3", "dan")]
    shown = [[(each.id, each.role, each.connected) for each in state.participants] for state in listed]
    assert shown[1] == [("dan", "host", False), ("ann", "guest", True)]
    assert shown[0][1] == ("bob", "observer", True)
    assert sessions.list_sessions(SessionList(), (await seats(world, "eve"))[EVE]).sessions == []
    assert isinstance(listed[0], SessionState)


async def test_cancelling(world: World) -> None:
    """A withdrawn request is gone, once; its target is told, and its requester nothing more."""
    ann, bob = (await seats(world, "ann", "bob")).values()
    request_id = await world.ask(ann, bob)
    await connections.withdraw(ConnectionCancel(request_id=request_id), ann)
    cancelled = ConnectionCancelled(request_id=request_id, reason="cancelled")
    assert world.delivery.calls == [("send", BOB, cancelled, None)]
    with refused(ErrorCode.REQUEST_NOT_FOUND):
        await respond(bob, request_id)
    with refused(ErrorCode.REQUEST_NOT_FOUND):
        await connections.withdraw(ConnectionCancel(request_id=request_id), ann)


async def test_who_may_cancel(world: World) -> None:
    """The requester; its target may not, and to all others there is no such request."""
    there = await seats(world, "ann", "bob", "cat", "ann@acme")
    request_id = await world.ask(there[ANN], there[BOB])
    with refused(ErrorCode.NOT_ALLOWED):
        await connections.withdraw(ConnectionCancel(request_id=request_id), there[BOB])
    for user in (CAT, User("ann", "acme")):
        with refused(ErrorCode.REQUEST_NOT_FOUND):
            await connections.withdraw(ConnectionCancel(request_id=request_id), there[user])
    assert world.directory.request(request_id) is not None


class Contested(MemorySessions):
    """Sessions that another node changes first, as often as told."""

    def __init__(self, stores: MemoryStores, *others: Callable[[Session], Session | None]) -> None:
        super().__init__(stores.directory, Journal())
        self.others = list(others)

    async def swap(self, before: Session, after: Session | None) -> bool:
        if self.others:
            assert await super().swap(before, self.others.pop(0)(before))
        return await super().swap(before, after)


def joined(session: Session) -> Session:
    return replace(session, participants={**session.participants, EVE: "guest"})


async def test_a_change_beside_another(world: World) -> None:
    """When another change comes first, it stands, and what was to be done is done to what it made."""
    there = await meet(world, ann="host", bob="guest")
    await seats(world, "eve")
    world.stores.sessions = Contested(world.stores, joined)
    await leave(there[BOB])
    assert roles(world) == {"ann": "host", "eve": "guest"}
    assert_told(world, "left", BOB, ANN, EVE)


async def test_a_change_that_may_not_be_any_more(world: World) -> None:
    """What another change forbids is refused, though it was allowed before it."""
    there = await meet_four(world)
    world.stores.sessions = Contested(world.stores, lambda session: membership.with_host(session, BOB))
    with refused(ErrorCode.NOT_ALLOWED):
        await kick(there[ANN], CAT)
    assert roles(world) == {"ann": "guest", "bob": "host", "cat": "guest", "dan": "guest"}


@pytest.mark.parametrize("other", [lambda _: None, lambda session: membership.with_host(session, BOB)])
async def test_accepting_what_dies_just_then(world: World, other: Callable[[Session], Session | None]) -> None:
    """An invitation whose session is over by then, or has another host, is no request any more."""
    there = await meet(world, ann="host", bob="guest")
    cat = await world.join("cat", capabilities=MODERN)
    request_id = await invite(world, there[ANN], CAT)
    world.stores.sessions = Contested(world.stores, other)
    with refused(ErrorCode.REQUEST_NOT_FOUND):
        await respond(cat, request_id)


async def test_giving_up_beside_another_change(world: World) -> None:
    """A session that ends by another hand while a participant is given up does not keep its others from ending."""
    there = await meet(world, ann="host", bob="guest")
    await world.stores.sessions.put(Session("ses_2", ANN, {ANN: "host", BOB: "guest"}))
    world.stores.sessions = Contested(world.stores, lambda _: None)
    await disconnects.leave(there[ANN])
    assert world.delivery.to(BOB) == [SessionEnded(session_id="ses_2", reason="left")]


@pytest.mark.parametrize("act", [hand_over, kick, leave_to, end])
async def test_an_invitation_that_the_store_fails_for(world: World, monkeypatch: pytest.MonkeyPatch, act: Act) -> None:
    """The session's change is told all the same, and each invitation ends, if need be later."""
    there = await meet(world, ann="host", bob="guest")
    await seats(world, "cat", "dan")
    first, second = await invite(world, there[ANN], CAT), await invite(world, there[ANN], DAN)
    with failing(monkeypatch, world.stores.requests, "take", 1):
        await act(there[ANN], BOB)
    assert world.delivery.to(BOB) != []
    assert world.delivery.to(DAN) == [ConnectionCancelled(request_id=second, reason="cancelled")]
    assert world.delivery.to(CAT) == []
    await world.services.retries.retry()
    assert world.delivery.to(CAT) == [ConnectionCancelled(request_id=first, reason="cancelled")]


async def test_a_session_that_ends_while_one_is_invited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The invitation, which came too late to end with it, is taken back."""
    there = await meet(world, ann="host", bob="guest")
    await seats(world, "cat")
    add = world.stores.requests.add

    async def add_late(request: Request) -> None:
        await end(there[ANN])
        await add(request)

    monkeypatch.setattr(world.stores.requests, "add", add_late)
    with refused(ErrorCode.SESSION_NOT_FOUND):
        await invite_to_it(there[ANN], CAT)
    assert (world.directory.sizes().requests, world.delivery.to(CAT)) == (0, [])


async def test_accepting_an_invitation_that_died_just_then(world: World) -> None:
    """Its target is told that there is nothing to answer any more, besides being refused."""
    there = await meet(world, ann="host", bob="guest")
    cat = await world.join("cat", capabilities=MODERN)
    request_id = await invite(world, there[ANN], CAT)
    world.stores.sessions = Contested(world.stores, lambda _: None)
    with refused(ErrorCode.REQUEST_NOT_FOUND):
        await respond(cat, request_id)
    assert world.delivery.to(CAT) == [ConnectionCancelled(request_id=request_id, reason="cancelled")]


@pytest.mark.parametrize("act", [give, hand_over, kick, leave_to])
async def test_a_change_has_its_price(act: Callable[[Seat, User], Awaitable[None]]) -> None:
    """A change costs its maker the more, the more see it of the more; nobody else pays."""
    world = World()
    everybody: dict[str, Role] = {"ann": "host"}
    everybody.update({f"guest-{number}": "guest" for number in range(16)})
    there = await meet(world, **everybody)
    ann, others = there[ANN], [seat for user, seat in there.items() if user != ANN]
    await act(ann, others[0].user)
    participants = len(roles(world))
    times = 2 if act is leave_to else 1  # of the leaving, and of the new host
    assert ann.socket.charged == pytest.approx(times * participants**2 / PARTICIPANTS_PER_EVENT)
    assert {seat.socket.charged for seat in others} == {0}


async def test_participants_come_without_metadata() -> None:
    """What participants show in sessions is without metadata, which else would go from all to all with each change."""
    world = World()
    await world.join("ann", PeerRegister(metadata=Metadata(os="x" * 200)), capabilities=MODERN)
    await world.join("bob", capabilities=MODERN)
    session = Session("ses_1", ANN, {ANN: "host", BOB: "guest"})
    profiles = [each.profile for each in membership.participants(world.directory, session)]
    assert [(profile.display_name, profile.metadata) for profile in profiles] == [
        ("Name ann", None),
        ("Name bob", None),
    ]
