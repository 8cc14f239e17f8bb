"""Mail for users who are away, and its bounds."""

import pytest

from app.delivery.mail import Mail
from stores.base import User
from tests.support.doubles import ANN, BOB, CAT


class Post:
    """Mail with small bounds, and who overflowed."""

    def __init__(self) -> None:
        self.overflows: list[User] = []
        self.mail = Mail(events=5, size=100, total_size=150, on_overflow=self.overflows.append)

    def keep(self, user: User, payload: bytes) -> bool:
        """Keep something for a user; False if it is not kept."""
        box = self.mail.boxes.get(user)
        return box is not None and bool(self.mail.keep(box, payload))


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
