"""SEND_MESSAGE (docs/protocol.md section 3)."""

import gc

import pytest
from msgspec import Raw
from msgspec.structs import replace

from handlers import departures, messages
from handlers.ports import Receipt
from schemas.errors import ErrorCode
from schemas.fields import Role
from schemas.messages import AddressedMessage, MessageAck, MessageReceived, SendMessage
from stores.base import Session
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
    await departures.leave(ann)
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
    """A message that was acknowledged is not delivered again, but acknowledged with what became of it at first."""
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


async def test_nothing_is_left_of_what_waited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An acknowledgement that had to wait is freed without the collector, to which a `Sent` is unknown."""
    ann = await acknowledging(world)
    receipts: list[Receipt] = []

    def send(*_: object, receipt: Receipt, **__: object) -> None:
        receipt.hold()
        receipts.append(receipt)

    monkeypatch.setattr(world.delivery, "send", send)
    before = _waiting()
    assert messages.send_message(numbered(), ann) is None
    assert messages.send_message(numbered(), ann) is None
    assert _waiting() == before + 2
    receipts.pop().settle()
    assert [type(event) for event in ann.socket.sent] == [MessageAck, MessageAck]
    assert _waiting() == before


def _waiting() -> int:
    """Return how many acknowledgements are kept for later."""
    return sum(type(each) is messages._Later for each in gc.get_objects())


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


def test_each_is_named_once() -> None:
    """Who moved while a message was on its way may have had it from two nodes; the acknowledgement names it once."""
    receipt = Receipt(delivered=("bob", "bob"), queued=("bob", "cat", "cat"))
    sent = messages._concluded(1.0, "now", receipt)
    assert (sent.delivered, sent.queued, sent.timestamp) == (("bob",), ("cat",), "now")


def test_the_first_timestamp() -> None:
    """Of a message that had come before over another node the first timestamp is told."""
    assert messages._concluded(1.0, "now", Receipt(delivered=("bob",), first="before")).timestamp == "before"
