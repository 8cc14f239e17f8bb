"""AUTH (docs/protocol.md sections 3 and 8)."""

from collections.abc import Callable

import anyio
import pytest
from msgspec.structs import replace

from handlers.domain import disconnects
from handlers.events import auth, connections
from handlers.events.peers import register
from handlers.ports import Identity, State
from schemas.auth import AuthFailed, AuthSuccess, Resume, Resumption, Server, SocketLimits
from schemas.connections import ConnectionRequest, ConnectionRequestReceived
from schemas.errors import CloseCode, Error, ErrorCode, RetryAfter
from schemas.peers import PeerRegister
from stores.memory.stores import MemoryPeers
from stores.model import Holder, Peer, Revocation, User
from stores.protocols import StoreUnreachableError, SupersededError
from tests.support.doubles import ANN, HERE, START, NamingTokens, Seat, World, presented


@pytest.fixture
def world() -> World:
    return World()


def assert_turned_away(seat: Seat, code: ErrorCode) -> None:
    assert len(seat.socket.sent) == 1
    assert_turned_away_last(seat, code)


def assert_turned_away_last(seat: Seat, code: ErrorCode) -> None:
    failed = seat.socket.sent[-1]
    assert isinstance(failed, AuthFailed)
    assert (failed.code, seat.socket.closed) == (code, CloseCode.UNAUTHENTICATED)


async def test_success(world: World) -> None:
    """A good token lets the socket in and is answered from its claims."""
    seat = world.open()
    await auth.authenticate(presented("ann"), seat)
    assert seat.socket.sent == [AuthSuccess(user_id="ann", display_name="Name ann", email="ann@example.com")]
    assert (seat.socket.state, seat.socket.closed) == (State.AUTHENTICATED, None)
    assert await world.stores.peers.release(ANN, seat.socket.holder)


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (None, ErrorCode.TOKEN_MISSING),
        ("", ErrorCode.TOKEN_MISSING),
        ({"a": 1}, ErrorCode.TOKEN_INVALID),
        ("expired", ErrorCode.TOKEN_EXPIRED),
    ],
)
async def test_failure(world: World, token: object, code: ErrorCode) -> None:
    """A bad token is answered AUTH_FAILED, the socket closes with 4001 and claims nobody."""
    seat = world.open()
    await auth.authenticate(presented(token), seat)
    assert_turned_away(seat, code)
    assert seat.socket.state is State.CONNECTED
    assert not await world.stores.peers.release(ANN, seat.socket.holder)


def assert_throttled(seat: Seat) -> None:
    (error,) = seat.socket.sent
    assert isinstance(error, Error)
    assert (error.code, error.details) == (ErrorCode.RATE_LIMITED, RetryAfter(retry_after_ms=1501))
    assert (seat.socket.state, seat.socket.closed) == (State.CONNECTED, CloseCode.RATE_LIMITED)


async def test_too_many_failures(world: World) -> None:
    """A throttled address is told when to come back, even with a good token, once it has had its looks."""
    world.auth_throttle.throttled.add(HERE)
    world.auth_throttle.blind.add(HERE)
    seat = world.open()
    await auth.authenticate(presented("ann"), seat)
    assert_throttled(seat)
    assert not world.auth_throttle.counts


async def test_throttled(world: World) -> None:
    """A throttled address that still has looks gets in with a good token; its failures are answered as throttled."""
    world.auth_throttle.throttled.add(HERE)
    await world.enter("ann")
    seat = world.open()
    await auth.authenticate(presented("expired"), seat)
    assert_throttled(seat)
    assert world.auth_throttle.counts == {HERE: 1}


@pytest.mark.parametrize("token", [None, ""])
async def test_a_missing_token_is_no_failure(world: World, token: str | None) -> None:
    """A missing token needs no look, and does not count against its address."""
    world.auth_throttle.blind.add(HERE)
    seat = world.open()
    await auth.authenticate(presented(token), seat)
    assert_turned_away(seat, ErrorCode.TOKEN_MISSING)
    assert not world.auth_throttle.counts


async def test_failures_are_counted(world: World) -> None:
    """A failure counts against its address, also one of renewing; but a socket that is in need not wait to renew."""
    await auth.authenticate(presented("expired"), world.open())
    await auth.authenticate(presented("ann"), world.open(b"there"))
    assert world.auth_throttle.counts == {HERE: 1}
    seat = await world.enter("bob")
    world.auth_throttle.throttled.add(HERE)
    world.auth_throttle.blind.add(HERE)
    await auth.authenticate(presented("bob"), seat)
    assert seat.socket.closed is None
    await auth.authenticate(presented("expired"), seat)
    assert_turned_away_last(seat, ErrorCode.TOKEN_EXPIRED)
    assert world.auth_throttle.counts == {HERE: 2}


async def test_a_user_who_logs_in_too_often(world: World) -> None:
    """Its new socket is sent away with 4029 and when to come back; the one it has stays. Renewing is no login."""
    old = await world.join("ann")
    world.logins.refused.add(ANN)
    seat = world.open()
    await auth.authenticate(presented("ann"), seat)
    (error,) = seat.socket.sent
    assert isinstance(error, Error)
    assert (error.code, error.details) == (ErrorCode.RATE_LIMITED, RetryAfter(retry_after_ms=201))
    assert (seat.socket.state, seat.socket.closed) == (State.CONNECTED, CloseCode.RATE_LIMITED)
    assert not world.delivery.named("supersede")
    assert not world.auth_throttle.counts
    await auth.authenticate(presented("ann"), old)
    assert old.socket.closed is None
    assert world.logins.counts[ANN] == 1


async def test_supersedes_a_registered_socket(world: World) -> None:
    """The user counts as dropped from the new AUTH on, the grace running, without a broadcast."""
    old = await world.join("ann")
    world.clock.advance(5)
    await world.enter("ann")
    assert world.delivery.named("detach", "supersede") == [("detach", ANN), ("supersede", old.socket.holder)]
    peer = world.peer(ANN)
    assert (peer.lapses_at, peer.status) == (START + 5 + 30, "online")


async def test_supersedes_an_unregistered_socket(world: World) -> None:
    """A socket is superseded even if it has not registered."""
    old = await world.enter("ann")
    await world.enter("ann")
    assert world.delivery.named("detach", "supersede") == [("supersede", old.socket.holder)]


async def test_superseding_again_keeps_the_grace(world: World) -> None:
    """The grace runs from the first superseding, however often the user authenticates without registering."""
    await world.join("ann")
    await world.enter("ann")
    world.clock.advance(10)
    await world.enter("ann")
    assert world.peer(ANN).lapses_at == START + 30


async def test_same_name_in_another_org(world: World) -> None:
    """A user is the pair of org and sub: nobody of another org is superseded."""
    await world.join("ann")
    await world.enter("ann@acme")
    assert world.delivery.calls == []
    assert world.peer(ANN).lapses_at is None


@pytest.mark.parametrize("is_leaving", [True, False])
async def test_the_end_of_a_superseded_socket(world: World, *, is_leaving: bool) -> None:
    """Closing of the old socket, whenever it comes, touches nothing of the new one."""
    old = await world.join("ann")
    new = await world.join("ann")
    await (disconnects.leave if is_leaving else disconnects.drop)(old)
    assert world.delivery.calls == []
    assert (world.peer(ANN).lapses_at, world.peer(ANN).status) == (None, "online")
    assert await world.stores.peers.release(ANN, new.socket.holder)


async def test_renewal(world: World) -> None:
    """AUTH again with a token of the same user renews it and changes nothing else."""
    seat = await world.join("ann")
    before = seat.socket.identity
    await auth.authenticate(presented("ann"), seat)
    assert isinstance(seat.socket.sent[-1], AuthSuccess)
    assert seat.socket.identity is not before
    assert (seat.socket.state, seat.socket.closed) == (State.REGISTERED, None)
    assert world.delivery.named("admit", "detach", "supersede") == []


async def test_renewal_asks_for_no_more(world: World) -> None:
    """`capabilities` and `resume` in a renewal are ignored."""
    world.delivery.recoverable.add("res_1")
    seat = await world.join("ann", capabilities=["acks"])
    before = seat.socket.spoken
    await auth.authenticate(presented("ann", ["resume", "notices"], Resume(token="res_1", offset=0)), seat)
    (success,) = seat.socket.sent
    assert success == AuthSuccess(user_id="ann", display_name="Name ann", email="ann@example.com")
    assert (seat.socket.spoken, seat.socket.state) == (before, State.REGISTERED)
    assert world.delivery.named("admit", "recover") == []


@pytest.mark.parametrize("known", ["ann", None])
async def test_goes_by_the_token_once_answered(world: World, known: str | None) -> None:
    """The socket goes by a token, which may be about to expire, after the client was told that it is good."""
    seat = await world.join(known) if known else world.open()
    answered: list[int] = []
    seat.socket.renewed = lambda identity: answered.append(len(seat.socket.sent))  # type: ignore[method-assign]
    await auth.authenticate(presented("ann"), seat)
    assert answered[-1] == 1


@pytest.mark.parametrize("token", ["bob", "ann@acme", "", 5, "expired"])
async def test_renewal_with_a_wrong_token(world: World, token: object) -> None:
    """AUTH again with a token of another user, or no good one, closes the socket."""
    seat = await world.join("ann")
    await auth.authenticate(presented(token), seat)
    codes = {"": ErrorCode.TOKEN_MISSING, "expired": ErrorCode.TOKEN_EXPIRED}
    assert_turned_away(seat, codes.get(str(token), ErrorCode.TOKEN_INVALID))
    assert seat.user == ANN


RESUME = Resume(token="kept", offset=7)


async def resuming(world: World, address: bytes = HERE, *, is_there: bool = True) -> Seat:
    """Authenticate with a resume token; `is_there` says whether all is there to resume."""
    world.delivery.recoverable = {"kept"} if is_there else set()
    world.delivery.calls.clear()
    seat = world.open(address)
    await auth.authenticate(presented("ann", ["resume", "unheard-of"], RESUME), seat)
    return seat


async def test_capabilities(world: World) -> None:
    """Who names capabilities is told which of them there are, and of server and limits."""
    seat = world.open()
    await auth.authenticate(presented("ann", ["acks", "resume", "unheard-of"]), seat)
    assert seat.socket.sent == [
        AuthSuccess(
            user_id="ann",
            display_name="Name ann",
            email="ann@example.com",
            capabilities=["resume", "acks"],
            server=Server(version="1.2.3"),
            limits=SocketLimits(max_message_bytes=1_048_576, events_per_second=200, burst=400, heartbeat_seconds=30),
            resume=Resumption(token="resume ann", grace_seconds=120),
            recovered=False,
        )
    ]
    assert seat.socket.spoken == {"1.1", "resume", "acks"}


async def test_no_capabilities(world: World) -> None:
    """An empty list makes a socket of version 1.1 that cannot resume."""
    seat = world.open()
    await auth.authenticate(presented("ann", [], RESUME), seat)
    (answer,) = seat.socket.sent
    assert isinstance(answer, AuthSuccess)
    assert (answer.capabilities, answer.resume, answer.recovered) == ([], None, None)
    assert world.delivery.named("recover") == []


@pytest.mark.parametrize("is_dropped", [True, False])
async def test_recovery(world: World, *, is_dropped: bool) -> None:
    """A client that is recovered is registered as it was, and what was kept for it follows the answer."""
    old = await world.join("ann", capabilities=["resume"])
    before = world.peer(ANN)
    if is_dropped:
        await disconnects.drop(old)
        assert world.peer(ANN).is_present
    new = await resuming(world)
    assert new.socket.state is State.REGISTERED
    assert world.peer(ANN) == replace(before, holder=new.socket.holder)
    answer = new.socket.sent[0]
    assert isinstance(answer, AuthSuccess)
    assert (answer.recovered, answer.resume) == (True, Resumption(token="kept again", grace_seconds=120))
    names = [call[0] for call in world.delivery.calls]
    assert names[-3:] == ["recover", "answer", "attach"]
    assert ("supersede" in names) == (not is_dropped)


async def test_requests_wait_for_a_recovery(world: World) -> None:
    """Who is recovered is told of the requests that wait for it, after what was kept."""
    await disconnects.drop(await world.join("ann", capabilities=["resume"]))
    await connections.request(ConnectionRequest(target_id="ann"), await world.join("bob"))
    world.delivery.calls.clear()
    await resuming(world)
    assert [call[0] for call in world.delivery.calls][-2:] == ["attach", "send"]
    (received,) = world.delivery.to(ANN)
    assert isinstance(received, ConnectionRequestReceived)
    assert received.sender.id == "bob"


async def test_recovery_from_elsewhere(world: World) -> None:
    """Who comes back from another address is announced: it may be near or far now."""
    await disconnects.drop(await world.join("ann", capabilities=["resume"]))
    await resuming(world, b"there")
    assert world.delivery.named("announce") == [("announce", world.peer(ANN))]
    assert world.peer(ANN).address == b"there"


@pytest.mark.parametrize("is_dropped", [True, False])
async def test_no_recovery(world: World, *, is_dropped: bool) -> None:
    """A client that cannot be recovered counts as dropped until it registers, with the grace of a session."""
    old = await world.join("ann", capabilities=["resume"])
    if is_dropped:
        await disconnects.drop(old)
    new = await resuming(world, is_there=False)
    assert new.socket.state is State.AUTHENTICATED
    assert (world.peer(ANN).is_present, world.peer(ANN).lapses_at) == (False, START + 30)
    assert world.delivery.named("admit", "attach") == [("admit", ANN, new.socket.holder)]


async def test_recovery_of_the_unregistered(world: World) -> None:
    """A client that had not registered yet starts over: told that it is recovered, it would never register."""
    await world.enter("ann", capabilities=["resume"])
    new = await resuming(world)
    assert new.socket.state is State.AUTHENTICATED
    answer = new.socket.sent[0]
    assert isinstance(answer, AuthSuccess)
    assert answer.recovered is False
    assert world.delivery.named("recover", "attach") == []


REVOKED = Revocation(expires_at=START + 1000, user=ANN, issued_before=START + 1)


class SlowPeers(MemoryPeers):
    """Records in which claims and registrations wait until they are let through, and only then take effect."""

    def __init__(self, whole: MemoryPeers) -> None:
        vars(self).update(vars(whole))
        self.through = anyio.Event()
        self.through.set()

    async def claim(self, user: User, holder: Holder) -> Holder | None:
        await self.through.wait()
        return await super().claim(user, holder)

    async def register(self, peer: Peer, holder: Holder) -> bool:
        await self.through.wait()
        return await super().register(peer, holder)


@pytest.mark.parametrize("resume", [None, RESUME])
@pytest.mark.parametrize("is_away", [False, True])
async def test_revoked_while_it_is_let_in(world: World, resume: Resume | None, *, is_away: bool) -> None:
    """A token revoked while its socket is being let in lets nobody in: not anew, not by resuming, nor is a peer left.

    Whoever revokes it cannot find the socket yet.
    """
    world.delivery.recoverable = {"kept"}
    peers = world.stores.peers = SlowPeers(world.stores.peers)
    old, bob = await world.join("ann", capabilities=["resume"]), await world.join("bob")
    session_id = await world.pair(old, bob)
    if is_away:
        await disconnects.drop(old)
    peers.through = anyio.Event()
    thief = world.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(auth.authenticate, presented("ann", ["resume"], resume), thief)
        await anyio.wait_all_tasks_blocked()
        await disconnects.revoke(REVOKED, world.services)
        peers.through.set()
    assert_turned_away(thief, ErrorCode.TOKEN_INVALID)
    assert world.delivery.named("admit", "recover", "attach") == []
    await disconnects.drop(thief)
    assert world.directory.peer(ANN) is None
    assert world.directory.session(session_id) is None
    assert not await world.stores.peers.release(ANN, thief.socket.holder)


async def test_the_end_came_with_it(world: World) -> None:
    """A connection that is lost by the time its AUTH is handled takes nothing from the user's other socket."""
    live = await world.join("ann")
    stale = world.open()
    stale.socket.is_lost = True
    await auth.authenticate(presented("ann"), stale)
    assert world.delivery.named("supersede") == []
    assert await world.stores.peers.release(ANN, live.socket.holder)


async def test_superseded_while_it_is_let_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket whose claim another one has taken is not told that it started over: it is closed with 4002."""

    async def admit(*_: object) -> str | None:
        raise SupersededError

    monkeypatch.setattr(world.delivery, "admit", admit)
    slow = world.open()
    await auth.authenticate(presented("ann", ["resume"], RESUME), slow)
    assert world.delivery.named("supersede") == [("supersede", slow.socket.holder)]
    assert slow.socket.sent == []


async def test_revoked_while_it_renews(world: World) -> None:
    """A token revoked after its verification, and before the socket goes by it, closes the socket."""

    async def verify(token: object, look: Callable[[], None] = lambda: None) -> Identity:
        identity = await NamingTokens().verify(token, look)
        await disconnects.revoke(Revocation(expires_at=START + 1000, token_id="new"), world.services)
        return replace(identity, token_id="new")

    seat = await world.join("ann")
    world.services.tokens.verify = verify  # type: ignore[method-assign]
    await auth.authenticate(presented("ann"), seat)
    success, error = seat.socket.sent
    assert isinstance(success, AuthSuccess)
    assert isinstance(error, Error)
    assert (error.code, seat.socket.closed) == (ErrorCode.TOKEN_INVALID, CloseCode.UNAUTHENTICATED)
    await disconnects.drop(seat)
    assert world.directory.peer(ANN) is None


async def test_revoked_while_it_registers(world: World) -> None:
    """A peer that was given up in the middle of its registration is not announced, and does not stay."""
    peers = world.stores.peers = SlowPeers(world.stores.peers)
    seat = await world.enter("ann")
    peers.through = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(register, PeerRegister(), seat)
        await anyio.wait_all_tasks_blocked()
        world.delivery.here = [ANN]
        await disconnects.revoke(REVOKED, world.services)
        peers.through.set()
    await disconnects.drop(seat)
    assert world.directory.peer(ANN) is None
    announced = world.delivery.named("announce")
    assert [call[1].status for call in announced if isinstance(call[1], Peer)][-1:] == ["offline"]


async def test_revoked_once_it_is_registered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that was given up before its registration could be answered is neither told so nor announced."""
    original = world.stores.peers.register

    async def register_and_give_up(peer: Peer, holder: Holder) -> bool:
        done = await original(peer, holder)
        world.delivery.here = [ANN]
        await disconnects.revoke(REVOKED, world.services)
        return done

    seat = await world.enter("ann")
    monkeypatch.setattr(world.stores.peers, "register", register_and_give_up)
    await register(PeerRegister(), seat)
    assert (seat.socket.sent, seat.socket.state) == ([], State.AUTHENTICATED)
    assert world.delivery.named("attach") == []
    assert [call[1].status for call in world.delivery.calls if isinstance(call[1], Peer)] == ["offline"]


async def test_the_store_is_lost_while_renewing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket of which it cannot be told whether its new token is revoked is closed, to come again."""

    async def cover(*_: object) -> bool:
        raise StoreUnreachableError("away")

    seat = await world.join("ann")
    monkeypatch.setattr(world.stores.revocations, "cover", cover)
    with pytest.raises(StoreUnreachableError):
        await auth.authenticate(presented("ann"), seat)
    assert seat.socket.closed == CloseCode.RESTART


@pytest.mark.parametrize("is_recoverable", [False, True])
async def test_the_store_is_lost_halfway(world: World, monkeypatch: pytest.MonkeyPatch, is_recoverable: bool) -> None:
    """A socket that was let in by half is closed, so that its client begins anew and not in the middle."""

    async def register(_peer: Peer, _holder: Holder) -> bool:
        raise StoreUnreachableError("away")

    world.delivery.recoverable = {"kept"} if is_recoverable else set()
    await world.join("ann", capabilities=["resume"])
    seat = world.open()
    monkeypatch.setattr(world.stores.peers, "register", register)
    with pytest.raises(StoreUnreachableError):
        await auth.authenticate(presented("ann", ["resume"], Resume(token="kept", offset=1)), seat)
    assert seat.socket.closed == CloseCode.RESTART
