"""SEND_MESSAGE (docs/protocol.md section 3)."""

import pytest
from msgspec import Raw
from msgspec.structs import replace

from handlers.context import log_full
from handlers.domain import disconnects
from handlers.events import messages
from handlers.ports import Receipt
from schemas.errors import Error, ErrorCode
from schemas.events import Ok, ServerEvent
from schemas.fields import Role
from schemas.messages import AddressedMessage, MessageAck, MessageReceived, SendMessage
from stores.log import Appended, Outcome
from stores.model import Session
from tests.support.doubles import ANN, BOB, CAT, Seat, World, refused

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
    await disconnects.leave(ann)
    with refused(ErrorCode.SESSION_NOT_FOUND):
        messages.send_message(message(session_id), bob)


async def acknowledging(world: World) -> Seat:
    ann = await world.join("ann", capabilities=["acks"])
    await meet(world)
    world.delivery.away.add(CAT)
    world.delivery.spoken[BOB] = frozenset({"acks"})
    return ann


def numbered(message_id: str = "m1", to: list[str] | None = None) -> SendMessage:
    return SendMessage(session_id="ses_1", content=CONTENT, message_id=message_id, to=to)


async def test_acknowledgement(world: World) -> None:
    """The sender is told who has the message, and for whom it is kept."""
    ann = await acknowledging(world)
    ack = messages.send_message(numbered(), ann)
    assert ack == MessageAck(
        message_id="m1", session_id="ses_1", timestamp="at 0", delivered=("bob",), queued=("cat",), duplicate=None
    )
    plain = AddressedMessage(session_id="ses_1", sender="ann", content=CONTENT, timestamp="at 0")
    assert world.delivery.to(BOB) == [replace(plain, message_id="m1")]
    assert world.delivery.to(CAT) == [plain]


async def test_a_duplicate(world: World) -> None:
    """A message that its receivers have had is not delivered again, but acknowledged with its first timestamp."""
    ann = await acknowledging(world)
    first = messages.send_message(numbered(), ann)
    world.delivery.calls.clear()
    world.clock.advance(5)
    again = messages.send_message(numbered(), ann)
    assert first is not None
    assert again == replace(first, duplicate=True)
    assert world.delivery.calls == []
    assert messages.send_message(numbered("m2"), ann) is not None
    assert len(world.delivery.calls) == 2


async def test_a_late_acknowledgement(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The acknowledgement follows once it is known of every receiver what became of the message."""
    ann = await acknowledging(world)
    receipts: list[Receipt] = []

    def send(*_: object, receipt: Receipt, **__: object) -> None:
        receipt.add_pending(1)
        receipts.append(receipt)

    monkeypatch.setattr(world.delivery, "send", send)
    assert messages.send_message(numbered(), ann) is None
    assert ann.socket.sent == []
    receipts[0].note("bob", Appended(Outcome.QUEUED))
    receipts[0].resolve()
    (ack,) = ann.socket.sent
    assert isinstance(ack, MessageAck)
    assert (ack.delivered, ack.queued) == ((), ("bob",))


async def test_no_room(world: World) -> None:
    """The sender is told for whom a message is not kept; the others get it, and so do they when it is sent again."""
    ann = await acknowledging(world)
    world.delivery.full.add(CAT)
    ack = messages.send_message(numbered(), ann)
    assert ack is not None
    assert (ack.delivered, ack.queued, ack.full) == (("bob",), (), ("cat",))
    world.delivery.full.clear()
    again = messages.send_message(numbered(), ann)
    assert again is not None
    assert (again.queued, again.full, again.duplicate) == (("cat",), None, True)
    assert (len(world.delivery.to(BOB)), len(world.delivery.to(CAT))) == (1, 1)


@pytest.mark.parametrize("to", [None, ["cat"]])
async def test_no_room_without_acks(world: World, to: list[str] | None) -> None:
    """A sender without `acks` is told by an error, which carries the `ref` of the message."""
    ann = await world.join("ann")
    await meet(world)
    world.delivery.full.add(CAT)
    ann.ref = Raw(b"1")
    assert messages.send_message(SendMessage(session_id="ses_1", content=CONTENT, to=to), ann) is None
    (error,) = ann.socket.sent
    assert isinstance(error, Error)
    assert error.code is ErrorCode.LOG_FULL
    assert ann.ref is None


@pytest.mark.parametrize("outcome", [Outcome.QUEUED, Outcome.FULL])
async def test_a_late_answer(world: World, monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
    """The answer to a message with a `ref` waits until it is known whether there is room: no error follows `OK`."""
    ann = await world.join("ann")
    await meet(world)
    receipts: list[Receipt] = []
    answers: list[tuple[ServerEvent, Raw | None]] = []

    def send(*_: object, receipt: Receipt, **__: object) -> None:
        receipt.add_pending(1)
        receipts.append(receipt)

    monkeypatch.setattr(world.delivery, "send", send)
    monkeypatch.setattr(ann.socket, "send", lambda event, ref: answers.append((event, ref)))
    ann.ref = Raw(b"1")
    assert messages.send_message(message(), ann) is None
    assert not answers
    assert ann.ref is None
    receipts[0].note("cat", Appended(outcome))
    receipts[0].resolve()
    assert answers == [(Ok() if outcome is Outcome.QUEUED else log_full(CAT), Raw(b"1"))]


async def test_a_refused_message_was_not_seen(world: World) -> None:
    """After a refusal the same messageId may be sent again, and is delivered."""
    ann = await acknowledging(world)
    with refused(ErrorCode.NOT_A_PARTICIPANT):
        messages.send_message(numbered(to=["zoe"]), ann)
    ack = messages.send_message(numbered(to=["bob"]), ann)
    assert ack is not None
    assert (ack.delivered, ack.queued, ack.duplicate) == (("bob",), (), None)


async def test_message_id_without_acks(world: World) -> None:
    """From a socket without `acks` a messageId is ignored: no answer, no duplicate, nobody is told of it."""
    ann = await world.join("ann")
    await meet(world)
    assert messages.send_message(numbered(), ann) is None
    assert messages.send_message(numbered(), ann) is None
    world.delivery.spoken[BOB] = frozenset({"acks"})
    assert messages.send_message(numbered(), ann) is None
    received = world.delivery.to(BOB)
    assert len(received) == 3
    assert all(isinstance(each, AddressedMessage) and each.message_id is None for each in received)


async def test_to(world: World) -> None:
    """A message with `to` reaches those it names, once; those with `sessions` are told whom it was for."""
    ann = await world.join("ann")
    await meet(world)
    for spoken, told in (({"sessions"}, ["cat", "cat"]), ({"acks"}, None)):
        world.delivery.spoken[CAT] = frozenset(spoken)
        messages.send_message(SendMessage(session_id="ses_1", content=CONTENT, to=["cat", "cat"]), ann)
        (received,) = world.delivery.to(CAT)
        assert isinstance(received, AddressedMessage)
        assert (received.to, world.delivery.to(BOB)) == (told, [])
        world.delivery.calls.clear()


@pytest.mark.parametrize(
    ("to", "code"),
    [([], ErrorCode.INVALID_DATA), (["cat", "ann"], ErrorCode.INVALID_DATA), (["zoe"], ErrorCode.NOT_A_PARTICIPANT)],
)
async def test_to_whom_not(world: World, to: list[str], code: ErrorCode) -> None:
    """`to` names participants other than oneself, one at least."""
    ann = await world.join("ann")
    await meet(world)
    with refused(code):
        messages.send_message(SendMessage(session_id="ses_1", content=CONTENT, to=to), ann)
    assert world.delivery.calls == []
