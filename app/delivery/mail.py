"""Mail: what is kept for users, bounded per user and in all (docs/protocol.md sections 3 and 8).

For a user of version 1 a mailbox is there while it is away. For one who speaks `resume` it is there always: each event
gets its number in it, and stays until the client has said that it was handled.
"""

from collections import deque
from collections.abc import Callable
from secrets import compare_digest

from app.wire.codec import with_offset, without_offset
from schemas.auth import Resume
from schemas.capabilities import VERSION_1, Spoken
from stores.base import User
from stores.bus import Box, Mark, Place

NODES = 64
HOMES = 16


class Mailbox:
    """What one user will get on its return, in order.

    In a numbered one the last of `frames` has the offset `last`; `sent` is the last offset that a socket was handed
    before the user went away, `tokens` are those good for resuming, newest last, each with the fence of the home whose
    numbers its client counts, and `socket` is the number of the user's last socket. One that lost something that its
    user was still to get is broken, and empty.

    Up to `written` it stands in a store, too; what is on its way there is in `writes`, by offset. `seen` is how far it
    came with what each node sent. This node numbered what comes after `base`, and wrote the tokens by the fence that is
    `opened`; `bases` have how far it goes with the numbers that the homes before this one gave, by their fences, the
    first being that over which the client started anew. One that `is_held` is yet to be read from there, and one that
    `is_gone` is closed: what is not written of it has to be sent again. One without numbers has in `marks` those of its
    messages by their places, from 1: the client may have had them over another node.
    """

    __slots__ = (
        "base",
        "bases",
        "frames",
        "is_broken",
        "is_gone",
        "is_held",
        "is_live",
        "is_numbered",
        "last",
        "marks",
        "opened",
        "seen",
        "sent",
        "size",
        "socket",
        "spoken",
        "tokens",
        "user",
        "writes",
        "written",
    )

    def __init__(self, user: User, spoken: Spoken) -> None:
        self.user = user
        self.spoken = spoken
        self.is_numbered = "resume" in spoken
        self.frames: deque[bytes] = deque()
        self.marks: dict[int, Mark] = {}
        self.size = 0
        self.last = 0
        self.sent = 0
        self.base = self.opened = 0
        self.written = 0
        self.writes: dict[int, object] = {}
        self.bases: dict[int, int] = {}
        self.seen: dict[str, int] = {}
        self.socket = 0
        self.tokens: dict[str, int] = {}
        self.is_held = False
        self.is_gone = False
        self.is_live = False
        self.is_broken = False

    def saw(self, node: str, number: int) -> None:
        """Note how far it came with what a node sent; of many nodes, as over many restarts, the first are forgotten."""
        if node not in self.seen and len(self.seen) == NODES:
            del self.seen[next(iter(self.seen))]
        self.seen[node] = number

    def follow(self, fence: int, last: int) -> None:
        """Note how far it goes with the numbers of a home before this one; of many the first are forgotten."""
        self.bases[fence] = last
        if len(self.bases) > HOMES:
            del self.bases[next(iter(self.bases))]

    def go_on(self, fence: int) -> None:
        """Go on by another fence: whose client counts the numbers that are given here, goes on with them, too."""
        self.tokens = {token: fence if of == self.opened else of for token, of in self.tokens.items()}
        self.opened = fence

    def fence_of(self, resume: Resume) -> int | None:
        """Return by which fence the numbers were given that a client counts; None if its token is not known.

        Takes the same time for every wrong token.
        """
        token = resume.token.encode()
        found = [fence for each, fence in self.tokens.items() if compare_digest(each.encode(), token)]
        return found[0] if found else None

    def reach(self, fence: int) -> int:
        """Return how far it goes with the numbers that were given by a fence."""
        return self.last if fence == self.opened else self.bases.get(fence, self.last)

    def has(self, place: Place) -> bool:
        """Whether an event that another home numbered is in it, or was handled by the client."""
        return place.offset <= self.bases.get(place.fence, 0)

    def began_after(self, place: Place) -> bool:
        """Whether the client has started over since another home numbered an event."""
        return place.fence < min(self.bases, default=0)

    @property
    def first(self) -> int:
        """The offset of the first event that is still here, or would be the next."""
        return self.last - len(self.frames) + 1

    def after(self, offset: int) -> list[bytes]:
        """Return what came after this offset."""
        return list(self.frames)[max(0, offset - self.first + 1) :]

    def can_resume(self, resume: Resume) -> bool:
        """Whether all that its client did not handle is here."""
        fence = self.fence_of(resume)
        if fence is None or self.is_broken:
            return False
        return self.first - 1 <= resume.offset <= min(self.sent, self.reach(fence))


class Mail:
    """The mailboxes of all users.

    Where one outgrows its bound, or all do and it is the largest, a live one lets go of its oldest events: they were
    sent, but can be resumed no more. One of a user who is away is emptied, and that is reported, once.
    """

    def __init__(self, *, events: int, size: int, total_size: int, on_overflow: Callable[[User], None]) -> None:
        self._events = events
        self._size = size
        self._total_size = total_size
        self._on_overflow = on_overflow
        self.boxes: dict[User, Mailbox] = {}
        self.held = 0
        self.dropped = 0

    def open(self, user: User, spoken: Spoken = VERSION_1) -> Mailbox:
        """Keep what comes for the user from now on; an old mailbox goes over into it unless that was numbered."""
        old = self.boxes.get(user)
        frames = self.take(user)
        box = self.boxes[user] = Mailbox(user, spoken)
        if old is not None and not old.is_numbered:
            for at, frame in enumerate(frames, 1):
                self.keep(box, frame, old.marks.get(at))
        return box

    def hold(self, user: User, spoken: Spoken) -> None:
        """Have what comes wait until it is known what another node kept."""
        self.take(user)
        box = self.boxes[user] = Mailbox(user, spoken)
        box.is_numbered, box.is_held = False, True

    def restore(self, user: User, spoken: Spoken, kept: Box, resume: Resume | None = None) -> Mailbox:
        """Go on with what another node kept, after what the client that resumes has handled, by what it says."""
        self.take(user)
        box = self.boxes[user] = Mailbox(user, spoken)
        box.tokens, box.seen, box.bases = kept.tokens, kept.seen, kept.bases
        box.last = box.sent = box.base = box.written = kept.last
        box.frames.extend(kept.frames)
        self._add(box, sum(map(len, kept.frames)))
        if kept.fence:
            box.follow(kept.fence, kept.last)
        fence = None if resume is None else box.fence_of(resume)
        if resume is not None and fence is not None and resume.offset > box.reach(fence):
            self._count_on(box, box.reach(fence), resume.offset)
            box.bases[fence] = resume.offset
        return box

    def _count_on(self, box: Mailbox, counted: int, offset: int) -> None:
        """Have what came after the number `counted` come after `offset`.

        So far goes what the client has from a node that could not write it any more.
        """
        box.is_broken = box.first > counted + 1
        payloads = [without_offset(frame) for frame in box.after(counted)]
        self.handled(box, box.last)
        box.last = box.sent = box.base = offset
        for payload in payloads:
            self.number(box, payload)
        box.written = box.last

    def keep(self, box: Mailbox, payload: bytes, mark: Mark | None = None) -> bool:
        """Keep an event for a user who is away; False if that was too much, now or before."""
        if box.is_broken:
            return False
        if box.is_numbered:
            self.number(box, payload)
        else:
            box.frames.append(payload)
            if mark is not None:
                box.marks[len(box.frames)] = mark
            self._add(box, len(payload))
        return bool(box.frames)

    def number(self, box: Mailbox, payload: bytes) -> bytes:
        """Return an event with its number, kept to be sent again."""
        box.last += 1
        frame = with_offset(payload, box.last)
        box.frames.append(frame)
        size = len(frame)
        if box.is_live and len(box.frames) > self._events:
            size -= len(box.frames.popleft())
        self._add(box, size)
        return frame

    def handled(self, box: Mailbox, offset: int) -> None:
        """Let go of what was handled, up to this offset."""
        size = box.size
        for _ in range(min(len(box.frames), offset - box.first + 1)):
            box.size -= len(box.frames.popleft())
        self.held -= size - box.size

    def restart(self, box: Mailbox) -> None:
        """Drop what no socket was handed yet; numbers start at 1 again."""
        self.held -= box.size
        box.frames.clear()
        box.writes.clear()
        box.size = box.last = box.sent = box.base = 0
        box.is_broken = False

    def take(self, user: User) -> list[bytes]:
        """Close the mailbox and return what was in it; empty if there was none."""
        box = self.boxes.pop(user, None)
        if box is None:
            return []
        box.is_gone = True
        self.held -= box.size
        return list(box.frames)

    def _add(self, box: Mailbox, size: int) -> None:
        box.size += size
        self.held += size
        if box.size > self._size or len(box.frames) > self._events:
            self._make_room(box)
        while self.held > self._total_size:
            self._give_way(max(self.boxes.values(), key=_size))

    def _make_room(self, box: Mailbox) -> None:
        if not box.is_live:
            self._give_way(box)
        size = box.size
        while box.size > self._size:
            box.size -= len(box.frames.popleft())
        self.held -= size - box.size

    def _give_way(self, box: Mailbox) -> None:
        self.dropped += 0 if box.is_live else len(box.frames)
        if box.is_numbered:
            self.held -= box.size
            box.is_broken = not box.is_live
        else:
            self.take(box.user)
        box.frames.clear()
        box.size = 0
        if not box.is_live:
            self._on_overflow(box.user)


def _size(box: Mailbox) -> int:
    return box.size
