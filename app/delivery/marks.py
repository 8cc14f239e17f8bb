"""Marks: by which a message is recognised that is sent again over another node."""

from collections.abc import Iterable
from hashlib import blake2b

import msgspec
from msgspec import Struct, field

from handlers.ports import MessageKey, Receipt
from stores.base import User
from stores.bus import Mark

LATEST = 1000
KEY_BYTES = 8


def mark_of(key: MessageKey) -> Mark:
    """Return a message's mark."""
    return Mark(blake2b(key.name.encode(), digest_size=KEY_BYTES).digest(), key.timestamp)


class _Data(Struct, rename="camel"):
    session_id: str = ""
    sender: str = field(name="from", default="")
    message_id: str = ""
    timestamp: str = ""


class _Frame(Struct):
    event: str
    data: _Data


_decode = msgspec.json.Decoder(_Frame).decode


def mark_in(frame: bytes) -> Mark | None:
    """Return the mark of the message that a frame brings; None if it brings none, or one without an id."""
    try:
        data = _decode(frame).data
    except msgspec.ValidationError:
        return None
    if not data.message_id:
        return None
    return mark_of(MessageKey.of(data.session_id, data.sender, data.message_id, data.timestamp))


class Marks:
    """The last `LATEST` marks at least of what one user was sent, in two generations, so that making room is cheap."""

    __slots__ = ("_old", "_young")

    def __init__(self, latest: Iterable[Mark] = ()) -> None:
        self._young = {each.key: each.timestamp for each in latest}
        self._old: dict[bytes, str] = {}

    def add(self, mark: Mark) -> str | None:
        """Add a mark; if it was there, return the timestamp that it had then."""
        known = self._young.get(mark.key) or self._old.get(mark.key)
        if known is not None:
            return known
        if len(self._young) >= LATEST:
            self._old, self._young = self._young, {}
        self._young[mark.key] = mark.timestamp
        return None


class Recognition:
    """The marks of all users of this node."""

    def __init__(self) -> None:
        self.users: dict[User, Marks] = {}

    def was_sent(self, user: User, mark: Mark | None, receipt: Receipt | None) -> bool:
        """Whether a message was sent to a user before; when that was is noted in the receipt. From now on it was."""
        if mark is None:
            return False
        marks = self.users.get(user)
        if marks is None:
            marks = self.users[user] = Marks()
        known = marks.add(mark)
        if known is not None and known != mark.timestamp and receipt is not None:
            receipt.first = known
        return known is not None

    def restore(self, user: User, marks: Iterable[Mark]) -> None:
        """Go on with the marks of the node that a user was on."""
        self.users[user] = Marks(marks)

    def forget(self, user: User) -> None:
        """Forget a user's marks."""
        self.users.pop(user, None)
