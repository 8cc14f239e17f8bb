"""By what a message is recognised that comes once more."""

import pytest

from app.delivery.marks import LATEST, Marks, Recognition, mark_in, mark_of
from app.wire.codec import encode, with_offset
from handlers.ports import MessageKey, Receipt
from schemas.messages import AddressedMessage
from stores.base import User
from stores.bus import Mark

ANN = User("ann")
TIMESTAMP = "2026-11-27T12:00:00.000Z"


def frame(message_id: str | None) -> bytes:
    """Return a message as its receiver has it."""
    about = {"session_id": "ses_1", "sender": "bob", "content": {"messageId": "no"}, "timestamp": TIMESTAMP}
    return encode(AddressedMessage(**about, message_id=message_id))  # type: ignore[arg-type]


def test_in_a_frame() -> None:
    """A message's frame, with its number or without, has the mark that it was sent with."""
    sent = mark_of(MessageKey.of("ses_1", "bob", "m1", TIMESTAMP))
    assert mark_in(frame("m1")) == mark_in(with_offset(frame("m1"), 7)) == sent


@pytest.mark.parametrize(
    "other",
    [
        frame(None),
        b'{"event":"SESSION_ENDED","data":{"sessionId":"ses_1","reason":"left"}}',
        b'{"event":"SERVER_NOTICE","data":{"messageId":1}}',
    ],
)
def test_no_mark(other: bytes) -> None:
    """What has no id, or is no message, has none."""
    assert mark_in(other) is None


def test_latest() -> None:
    """At least the latest are known, with the timestamp that each had first; not all that ever were."""
    marks = Marks()
    for number in range(3 * LATEST):
        assert marks.add(Mark(b"%08d" % number, str(number))) is None
    assert marks.add(Mark(b"%08d" % (2 * LATEST), "later")) == str(2 * LATEST)
    assert marks.add(Mark(b"%08d" % 0, "later")) is None


def test_noted() -> None:
    """When it was sent first is noted in the receipt of one that comes once more; of the very same nothing is."""
    recognition, receipt = Recognition(), Receipt()
    mark = Mark(b"12345678", "first")
    assert not recognition.was_sent(ANN, mark, receipt)
    assert recognition.was_sent(ANN, mark, receipt)
    assert receipt.first is None
    assert recognition.was_sent(ANN, Mark(mark.key, "second"), receipt)
    assert receipt.first == "first"
    recognition.forget(ANN)
    assert not recognition.was_sent(ANN, mark, receipt)
