"""AUTH (protocol.md sections 3 and 8)."""

import pytest

from handlers import auth, departures
from handlers.ports import State
from schemas.auth import AuthFailed, AuthSuccess
from schemas.errors import CloseCode, ErrorCode
from tests.support.doubles import ANN, START, Seat, World, presented


@pytest.fixture
def world() -> World:
    return World()


def assert_turned_away(seat: Seat, code: ErrorCode) -> None:
    (failed,) = seat.socket.sent
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
    await (departures.leave if is_leaving else departures.drop)(old)
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


@pytest.mark.parametrize("token", ["bob", "ann@acme", "", 5])
async def test_renewal_with_a_wrong_token(world: World, token: object) -> None:
    """AUTH again with a token of another user, or no good one, closes the socket."""
    seat = await world.join("ann")
    await auth.authenticate(presented(token), seat)
    assert_turned_away(seat, ErrorCode.TOKEN_MISSING if token == "" else ErrorCode.TOKEN_INVALID)
    assert seat.user == ANN
