"""The presence log: what changed in an org lately, for peers who resume and missed it (docs/protocol.md section 8).

Presence is state, not history: nobody keeps it for a peer that is away. The latest change of each peer is noted here
once for all, under a serial number, and each peer that speaks `resume` has a cursor: up to which number it was told.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from stores.model import Peer, User

MOST_CHANGES = 10_000


class PresenceCursor:
    """How far one peer was told: for sure up to `confirmed`, and up to `told` over a socket that may be dead.

    `marks` holds pairs of the last offset that was sent and what was told by then. A client that has handled a later
    event has got that, too.
    """

    __slots__ = ("confirmed", "marks", "pinged", "told")

    def __init__(self, serial: int) -> None:
        self.confirmed = self.told = self.pinged = serial
        self.marks: deque[tuple[int, int]] = deque()

    def tell(self, offset: int, serial: int) -> None:
        """Note that all up to `serial` is told, after the event with this offset."""
        self.told = serial
        if self.marks and self.marks[-1][0] == offset:
            self.marks.pop()
        self.marks.append((offset, serial))

    def handled(self, offset: int) -> None:
        """Take note that the client has handled the event with this offset."""
        while self.marks and self.marks[0][0] < offset:
            self.confirmed = self.marks.popleft()[1]

    def resume(self, offset: int) -> None:
        """Go on from the last event that the client has handled: what was told after it may not have arrived."""
        self.handled(offset)
        self.marks.clear()
        self.told = self.pinged = self.confirmed

    def ping(self) -> None:
        """Note that the client is asked for a sign of life."""
        self.pinged = self.told

    def pong(self) -> None:
        """Take note of the sign of life: what was told before it was asked for has arrived."""
        self.confirmed = max(self.confirmed, self.pinged)
        while self.marks and self.marks[0][1] <= self.confirmed:
            self.marks.popleft()


class _Noted(NamedTuple):
    serial: int
    at: float
    peer: Peer


class PresenceLog:
    """The latest changes of one org, oldest first, for so many seconds, and at most `MOST_CHANGES` of them."""

    def __init__(self, seconds: float) -> None:
        self.cursors: dict[User, PresenceCursor] = {}
        self._seconds = seconds
        self._latest: dict[User, _Noted] = {}

    def __len__(self) -> int:
        """Return how many changes it has."""
        return len(self._latest)

    def note(self, serial: int, peer: Peer, now: float) -> None:
        """Note a peer's change; `now` is in monotonic seconds."""
        self._latest.pop(peer.user, None)
        self._latest[peer.user] = _Noted(serial, now, peer)
        if len(self._latest) > MOST_CHANGES:
            del self._latest[next(iter(self._latest))]

    def since(self, serial: int) -> Iterator[tuple[int, Peer]]:
        """Return what changed after this number, latest first."""
        for noted in reversed(self._latest.values()):
            if noted.serial <= serial:
                return
            yield noted.serial, noted.peer

    def prune(self, now: float) -> None:
        """Let go of what is too old."""
        for user, noted in list(self._latest.items()):
            if noted.at > now - self._seconds:
                return
            del self._latest[user]
