"""SEND_MESSAGE (protocol.md section 3)."""

import pytest
from msgspec import Raw

from handlers import departures, messages
from schemas.errors import ErrorCode
from schemas.fields import Role
from schemas.messages import MessageReceived, SendMessage
from stores.base import Session
from tests.support.doubles import ANN, BOB, CAT, World, refused

CONTENT = Raw(b'{"a" : 1.0}')


@pytest.fixture
def world() -> World:
    return World()


def message(session_id: str = "ses_1") -> SendMessage:
    return SendMessage(session_id=session_id, content=CONTENT)


async def meet(world: World, role: Role = "guest") -> None:
    await world.stores.sessions.put(Session("ses_1", ANN, {ANN: "host", BOB: role, CAT: "observer"}))


async def test_message(world: World) -> None:
    """Every other participant gets the content as it came, with sender and time; the sender gets nothing."""
    ann = await world.join("ann")
    await meet(world)
    world.clock.advance(7)
    messages.send_message(SendMessage(session_id="ses_1", content=CONTENT, type="t", correlation_id="c"), ann)
    received = MessageReceived(
        session_id="ses_1", sender="ann", content=CONTENT, type="t", correlation_id="c", timestamp="at 7"
    )
    assert world.delivery.calls == [("send", BOB, received, ANN), ("send", CAT, received, ANN)]
    assert ann.socket.sent == []


async def test_a_guest_sends(world: World) -> None:
    """A guest's message reaches host and observers."""
    bob = await world.join("bob")
    await meet(world)
    messages.send_message(message(), bob)
    assert [call[1] for call in world.delivery.calls] == [ANN, CAT]


async def test_an_observer_does_not_send(world: World) -> None:
    """An observer of the session may not send."""
    bob = await world.join("bob")
    await meet(world, "observer")
    with refused(ErrorCode.NOT_ALLOWED):
        messages.send_message(message(), bob)
    assert world.delivery.calls == []


@pytest.mark.parametrize(
    ("token", "session_id", "code"),
    [
        ("bob", "ses_nope", ErrorCode.SESSION_NOT_FOUND),
        ("dan", "ses_1", ErrorCode.NOT_A_PARTICIPANT),
        ("bob@acme", "ses_1", ErrorCode.NOT_A_PARTICIPANT),
    ],
)
async def test_refused(world: World, token: str, session_id: str, code: ErrorCode) -> None:
    """The session must be, and the sender in it; a namesake of another org is not."""
    seat = await world.join(token)
    await meet(world)
    with refused(code):
        messages.send_message(message(session_id), seat)
    assert world.delivery.calls == []


async def test_a_session_that_is_over(world: World) -> None:
    """Nothing can be sent to a session that ended."""
    ann, bob = await world.join("ann"), await world.join("bob")
    session_id = await world.pair(ann, bob)
    await departures.leave(ann)
    with refused(ErrorCode.SESSION_NOT_FOUND):
        messages.send_message(message(session_id), bob)
