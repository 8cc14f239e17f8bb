"""Mail for users who are away, and its bounds."""

import json

import pytest

from app.delivery.mail import Mail, Mailbox
from app.wire.codec import with_offset
from schemas.auth import Resume
from stores.base import User
from stores.bus import Box
from tests.support.doubles import ANN, BOB, CAT


class Post:
    """Mail with small bounds, and who overflowed."""

    def __init__(self) -> None:
        self.overflows: list[User] = []
        self.mail = Mail(events=5, size=100, total_size=150, on_overflow=self.overflows.append)

    def keep(self, user: User, payload: bytes) -> bool:
        """Keep something for a user; False if it is not kept."""
        box = self.mail.boxes.get(user)
        return box is not None and self.mail.keep(box, payload)


@pytest.fixture
def post() -> Post:
    return Post()


def test_order(post: Post) -> None:
    """What is kept comes out in order, once."""
    post.mail.open(ANN)
    for payload in (b"1", b"2", b"3"):
        assert post.keep(ANN, payload)
    post.mail.open(ANN)
    assert post.mail.take(ANN) == [b"1", b"2", b"3"]
    assert post.mail.take(ANN) == []
    assert post.mail.held == 0


def test_no_mailbox(post: Post) -> None:
    """Nothing is kept for who has no mailbox, or has one no more."""
    assert not post.keep(ANN, b"1")
    post.mail.open(ANN)
    post.mail.take(ANN)
    assert not post.keep(ANN, b"1")
    assert not post.keep(User("ann", "acme"), b"1")
    assert post.mail.held == 0


@pytest.mark.parametrize(("fitting", "last"), [([b"x"] * 5, b"x"), ([b"x" * 50, b"x" * 50], b"x"), ([], b"x" * 101)])
def test_bounds(post: Post, fitting: list[bytes], last: bytes) -> None:
    """A mailbox may be full of events or bytes; one more, and it is emptied, closed and reported once."""
    post.mail.open(ANN)
    for payload in fitting:
        assert post.keep(ANN, payload)
    assert (post.overflows, post.mail.held) == ([], sum(map(len, fitting)))
    post.keep(ANN, last)
    assert (post.overflows, post.mail.held) == ([ANN], 0)
    assert not post.keep(ANN, b"x")
    assert post.mail.take(ANN) == []
    assert post.overflows == [ANN]


def test_total(post: Post) -> None:
    """Where all mailboxes together hold too much, the largest goes first."""
    for user, size in ((ANN, 60), (BOB, 70), (CAT, 20)):
        post.mail.open(user)
        post.keep(user, b"x" * size)
    assert (post.overflows, post.mail.held) == ([], 150)
    post.keep(CAT, b"x")
    assert (post.overflows, post.mail.held) == ([BOB], 81)
    assert (post.mail.take(ANN), post.mail.take(CAT)) == ([b"x" * 60], [b"x" * 20, b"x"])


def test_a_lost_event_is_not_kept(post: Post) -> None:
    """The event that makes a mailbox overflow counts as not kept."""
    post.mail.open(ANN)
    assert not post.keep(ANN, b"x" * 101)


FRAME = b'{"event":"E","data":{}}'
RESUMES = frozenset({"1.1", "resume"})


class Line:
    """A numbered mailbox with room for five events, and a resume token."""

    def __init__(self, post: Post) -> None:
        self.post = post
        self.mail = Mail(events=5, size=1000, total_size=1500, on_overflow=post.overflows.append)
        self.box = self.mail.open(ANN, RESUMES)
        self.box.tokens = {"t": 0}

    def keep(self, count: int = 1) -> list[bytes]:
        return [self.box.frames[-1] if self.mail.keep(self.box, FRAME) else b"" for _ in range(count)]

    def can_resume(self, offset: int, token: str = "t") -> bool:
        return self.box.can_resume(Resume(token=token, offset=offset))

    def go(self, *, is_live: bool) -> None:
        self.box.is_live = is_live
        if not is_live:
            self.box.sent = self.box.last


@pytest.fixture
def line(post: Post) -> Line:
    return Line(post)


def offsets(frames: list[bytes]) -> list[int]:
    return [json.loads(frame)["offset"] for frame in frames]


def test_numbers(line: Line) -> None:
    """Events are numbered from 1, after all their other members, and can be had from any number on."""
    assert offsets(line.keep(3)) == [1, 2, 3]
    assert line.box.frames[0] == FRAME[:-1] + b',"offset":1}'
    assert [offsets(line.box.after(number)) for number in range(5)] == [[1, 2, 3], [2, 3], [3], [], []]
    assert line.mail.held == line.box.size == sum(map(len, line.box.frames))


def test_resuming(line: Line) -> None:
    """A client resumes from where all that follows is here, up to what was sent, with a token that is good."""
    line.go(is_live=True)
    line.keep(3)
    line.go(is_live=False)
    line.keep(1)
    line.mail.handled(line.box, 1)
    assert [line.can_resume(offset) for offset in range(5)] == [False, True, True, True, False]
    assert not line.can_resume(2, "x")
    assert not line.can_resume(2, "ü")


def test_handled_beyond(line: Line) -> None:
    """A client that says it has handled what is still to come lets go of all there is, and numbers go on."""
    line.keep(3)
    line.mail.handled(line.box, 1000)
    assert (line.mail.held, line.box.size) == (0, 0)
    assert offsets(line.keep()) == [4]


def test_a_live_mailbox_lets_go_of_the_oldest(line: Line) -> None:
    """What a live client was sent and has not handled is bounded; before that it cannot resume."""
    line.go(is_live=True)
    assert offsets(line.keep(8)) == [1, 2, 3, 4, 5, 6, 7, 8]
    line.go(is_live=False)
    assert [line.can_resume(offset) for offset in (2, 3)] == [False, True]
    assert line.post.overflows == []


def test_a_broken_mailbox(line: Line) -> None:
    """What is lost to one who is away makes the whole useless: it is emptied, and takes nothing more."""
    assert line.keep(6)[-1] == b""
    assert (line.mail.held, line.keep(), line.can_resume(0)) == (0, [b""], False)
    assert line.post.overflows == [ANN]
    line.mail.restart(line.box)
    assert offsets(line.keep()) == [1]


@pytest.mark.parametrize("is_live", [True, False])
def test_the_largest_gives_way(line: Line, *, is_live: bool) -> None:
    """Where all mailboxes hold too much, the largest goes first: a live one by its history only."""
    line.go(is_live=is_live)
    line.mail.keep(line.box, b"{" + b"x" * 800 + b"}")
    other = line.mail.open(BOB, RESUMES)
    line.mail.keep(other, b"{" + b"x" * 700 + b"}")
    assert (line.box.size, line.box.is_broken, other.is_broken) == (0, not is_live, False)
    assert line.mail.held == other.size
    assert line.box.first == 2


def test_mail_is_numbered_late(line: Line) -> None:
    """What was kept for a client of version 1 is numbered when the user comes back with one that resumes."""
    line.mail.keep(line.mail.open(CAT), FRAME)
    assert offsets(list(line.mail.open(CAT, RESUMES).frames)) == [1]
    assert list(line.mail.open(ANN, RESUMES).frames) == []


def kept_by(fence: int, last: int, tokens: dict[str, int], bases: dict[int, int], first: int = 1) -> Box:
    """Return what a home left in the store, the frames of which are from `first` to `last`."""
    frames = [with_offset(FRAME, number) for number in range(first, last + 1)]
    return Box(tokens=tokens, last=last, frames=frames, fence=fence, bases=bases)


@pytest.mark.parametrize(
    ("token", "offset", "follows"),
    [
        ("last", 5, []),  # it has all that was written
        ("last", 3, [4, 5]),
        ("last", 7, []),  # and what could not be written any more
        ("before", 2, [3, 4, 5]),  # the home before wrote down all it had
        ("before", 4, [5, 6, 7]),  # or not: what comes after 2 has other numbers
        ("nobody's", 9, []),
    ],
)
def test_whose_numbers_a_client_counts(post: Post, token: str, offset: int, follows: list[int]) -> None:
    """What another home kept follows what the client has, be it more than its own home could write."""
    mail = Mail(events=50, size=1000, total_size=1500, on_overflow=post.overflows.append)
    kept = kept_by(8, 5, {"before": 6, "last": 8}, {6: 2})
    box = mail.restore(ANN, RESUMES, kept, Resume(token=token, offset=offset))
    box.go_on(9)
    assert box.can_resume(Resume(token=token, offset=offset)) == (token != "nobody's")
    assert offsets(box.after(offset)) == follows
    assert mail.held == box.size == sum(map(len, box.frames))
    assert box.tokens == {"before": 6, "last": 8}


def test_a_gap_behind_what_a_client_has(post: Post) -> None:
    """Where what follows it was let go of, it has to start over."""
    mail = Mail(events=50, size=1000, total_size=1500, on_overflow=post.overflows.append)
    resume = Resume(token="before", offset=4)
    box = mail.restore(ANN, RESUMES, kept_by(8, 5, {"before": 6}, {6: 2}, first=4), resume)
    assert not box.can_resume(resume)


def test_going_on_by_another_fence() -> None:
    """Who counts the numbers that are given here goes on with them; others do not."""
    box = Mailbox(ANN, RESUMES)
    box.opened, box.tokens = 4, {"older": 3, "own": 4}
    box.go_on(7)
    assert (box.opened, box.tokens) == (7, {"older": 3, "own": 7})
