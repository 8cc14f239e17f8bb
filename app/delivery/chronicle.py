"""Chronicle: what changed in an org, for peers who resume and may have missed some of it (docs/protocol.md section 8).

Presence is state, not history: nobody keeps it for a peer that is away. The latest change of each peer is noted here
once for all, under a serial number, and each peer that speaks `resume` remembers up to which number it was told.
"""

from collections import deque
from collections.abc import Iterator

from stores.base import Peer, User

LONGEST = 10_000


class Sight:
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


class Chronicle:
    """The latest changes of one org, oldest first, for as long as somebody there has not seen them for sure."""

    def __init__(self) -> None:
        self.sights: dict[User, Sight] = {}
        self._latest: dict[User, tuple[int, Peer]] = {}
        self._prune_at = 64

    def note(self, serial: int, peer: Peer) -> None:
        """Note a peer's change."""
        self._latest.pop(peer.user, None)
        self._latest[peer.user] = (serial, peer)
        if len(self._latest) > self._prune_at:
            self._prune()

    def since(self, serial: int) -> Iterator[tuple[int, Peer]]:
        """Return what changed after this number, latest first."""
        for at, peer in reversed(self._latest.values()):
            if at <= serial:
                return
            yield at, peer

    def _prune(self) -> None:
        seen = min((sight.confirmed for sight in self.sights.values()), default=0)
        while self._latest:
            user, (serial, _) = next(iter(self._latest.items()))
            if serial > seen and len(self._latest) <= LONGEST:
                break
            del self._latest[user]
        self._prune_at = min(2 * len(self._latest) + 64, LONGEST)
