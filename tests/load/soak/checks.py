"""What must hold in a soak for one who receives, and what did not. No input or output here."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

REMEMBERED = 2000


class Faults:
    """What went wrong: how often of each kind, and the first of each, which is told at once."""

    def __init__(self, tell: Callable[[str], object] = str) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self._tell = tell

    def note(self, kind: str, detail: str) -> None:
        """Count one more."""
        self.counts[kind] += 1
        if kind not in self.examples:
            self.examples[kind] = detail
            self._tell(f"{kind}: {detail}")


class Letter(NamedTuple):
    """A message; its sender numbers all that it ever sends."""

    session: str
    sender: str
    number: int


class Inbox:
    """What one user receives and is owed (docs/protocol.md section 8).

    A life begins with an `AUTH` that is not recovered; what was owed in the one before is void. `tick` gives the time,
    which goes up with each call.
    """

    def __init__(self, user: str, faults: Faults, tick: Callable[[], int]) -> None:
        self.user = user
        self.offset = 0
        self.is_resumable = False
        self._faults = faults
        self._tick = tick
        self._began = tick()
        self._latest: dict[tuple[str, str], int] = {}
        self._received: dict[Letter, None] = {}
        self._owed: dict[Letter, int] = {}

    def start_over(self, *, is_resumable: bool) -> None:
        """Begin a new life."""
        self.offset = 0
        self.is_resumable = is_resumable
        self._began = self._tick()
        self._owed.clear()

    def count(self, event: str, offset: int | None) -> None:
        """Take an event that is kept: one who can resume gets each under the next number, others get no number."""
        expected = self.offset + 1 if self.is_resumable else None
        if offset == expected:
            self.offset += self.is_resumable
            return
        kind = "no offset" if offset is None else "an offset again" if offset <= self.offset else "an offset left out"
        self._faults.note(kind, f"{self.user} got {event} with offset {offset} instead of {expected}")
        self.offset = offset or self.offset

    def receive(self, letter: Letter) -> None:
        """Take a message: never one twice, nor one after a later one of the same sender in the same session."""
        latest = self._latest.get(letter[:2], -1)
        if letter in self._received:
            self._faults.note("a message twice", f"{self.user} got {letter} again")
        elif letter.number <= latest:
            self._faults.note("a message out of order", f"{self.user} got {letter} after {latest}")
        self._latest[letter[:2]] = max(latest, letter.number)
        self._owed.pop(letter, None)
        self._received[letter] = None
        if len(self._received) > REMEMBERED:
            del self._received[next(iter(self._received))]

    def owe(self, letter: Letter, sent_at: int) -> None:
        """Take note that a message was acknowledged as handed to this user, or kept for it."""
        if self.is_resumable and sent_at > self._began and letter not in self._received:
            self._owed[letter] = self._tick()

    def settle(self, asked_at: int) -> None:
        """Look for what was owed before the user asked for a sign of life, which has come: that is lost."""
        lost = [letter for letter, owed_at in self._owed.items() if owed_at < asked_at]
        for letter in lost:
            self._faults.note("an acknowledged message lost", f"{self.user} never got {letter}")
            del self._owed[letter]

    def forget(self, session: str) -> None:
        """Take note that the user is no longer in a session; what is on its way from there may come or not."""
        for pair in [pair for pair in self._latest if pair[0] == session]:
            del self._latest[pair]
        for letter in [letter for letter in self._owed if letter.session == session]:
            del self._owed[letter]
