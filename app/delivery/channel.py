"""A channel: what one node sent to another, until that has confirmed it."""

from collections import deque

from msgspec import Struct
from msgspec.structs import replace

from app.delivery.parcels import Message
from handlers.ports import Receipt
from stores.base import User
from stores.bus import Place

MOST_OPEN = 20_000
OPEN_BYTES = 33_554_432


class Sent(Struct, eq=False, gc=False):
    """A message on its way, and its turn there; one that goes another way by now `is_taken`.

    One that may have arrived, though nobody has said so, `is_doubtful`.
    """

    message: Message
    receipt: Receipt | None
    turn: int = 0
    is_taken: bool = False
    is_doubtful: bool = False

    def anew(self, place: Place | None = None, *, is_doubtful: bool = False) -> "Sent":
        """Return it as it goes again; a place is of the home that it had just now."""
        message = self.message if place is None else replace(self.message, place=place)
        return Sent(message, self.receipt, is_doubtful=is_doubtful or self.is_doubtful)


class Channel:
    """What was sent to one node and is not confirmed; `since` some moment nothing was heard of it.

    It holds up to `MOST_OPEN` messages and `OPEN_BYTES`.
    """

    def __init__(self) -> None:
        self.turn = self.heard = 0
        self.since = 0.0
        self.open: deque[Sent] = deque()
        self._size = 0
        self._of: dict[User, deque[Sent]] = {}

    @property
    def is_full(self) -> bool:
        """Whether the oldest has to give way."""
        return len(self.open) > MOST_OPEN or (self._size > OPEN_BYTES and len(self.open) > 1)

    def add(self, sent: Sent) -> None:
        """Add a message, which takes the next turn."""
        self.turn += 1
        sent.turn, sent.is_taken = self.turn, False
        self.open.append(sent)
        self._size += len(sent.message.frame)
        of = self._of.get(sent.message.user)
        if of is None:
            self._of[sent.message.user] = deque((sent,))
        else:
            of.append(sent)

    def pop(self) -> Sent:
        """Take out the oldest message."""
        sent = self.open.popleft()
        self._size -= len(sent.message.frame)
        if not sent.is_taken:
            of = self._of[sent.message.user]
            of.popleft()
            if not of:
                del self._of[sent.message.user]
        return sent

    def count(self, user: User) -> int:
        """Return how many messages are for one user, and still go this way."""
        return len(self._of.get(user, ()))

    def take(self, user: User) -> list[Sent]:
        """Return these, to go another way."""
        found = self._of.pop(user, deque())
        for sent in found:
            sent.is_taken = True
        return [sent.anew(is_doubtful=True) for sent in found]

    def take_all(self) -> list[Sent]:
        """Take out what still goes this way, to go again; what became of the turns so far is of no interest."""
        found = [sent for sent in self.open if not sent.is_taken]
        self.open.clear()
        self._of.clear()
        self._size = 0
        self.heard = self.turn
        return found
