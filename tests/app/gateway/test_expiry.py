"""When sockets are looked at for their tokens, by a clock that stands still until told."""

import pytest
from msgspec.structs import replace

from app.gateway.expiry import SLACK, Expiry, Policy
from handlers.ports import Identity
from schemas.capabilities import Spoken, spoken
from stores.model import Holder
from tests.support.doubles import ANN, START, ManualClock

LEEWAY = 5
NOTICES = spoken(["notices"])


class Socket:
    """A socket that notes what it is told."""

    def __init__(self, number: int, speaks: Spoken) -> None:
        self.holder = Holder("node", number)
        self.spoken = speaks
        self.identity = Identity(ANN, "Ann", None, (), START)
        self.told: list[str] = []

    def expiring(self) -> None:
        self.told.append("expiring")

    def expire(self) -> None:
        self.told.append("expired")


class Harness:
    """Sockets and when their tokens run out."""

    def __init__(self, policy: Policy = "auto") -> None:
        self.clock = ManualClock()
        self.sockets: dict[int, Socket] = {}
        self.expiry = Expiry(self.sockets, policy, LEEWAY, self.clock)

    def enter(self, lives: float, speaks: Spoken = NOTICES) -> Socket:
        """Authenticate a socket whose token lives so many seconds."""
        number = len(self.sockets)
        socket = self.sockets[number] = Socket(number, speaks)
        self.expiry.watch(socket)
        self.renew(socket, lives)
        return socket

    def renew(self, socket: Socket, lives: float) -> None:
        """Give the socket a token that lives so many seconds from now."""
        socket.identity = replace(socket.identity, expires_at=self.clock.time + lives)
        self.expiry.look(socket)

    def leave(self, socket: Socket) -> None:
        """Close a socket."""
        self.expiry.forget(self.sockets.pop(socket.holder.socket).holder.socket)

    def wait(self, seconds: float) -> None:
        """Let time pass, then look at what is due."""
        self.clock.advance(seconds)
        self.expiry.sweep()


@pytest.fixture
def harness() -> Harness:
    return Harness()


def test_the_life_of_a_token(harness: Harness) -> None:
    """A minute before its end it is told of, and past its end and the leeway the socket is closed; once each."""
    socket = harness.enter(3600)
    harness.wait(3539)
    assert socket.told == []
    harness.wait(1)
    harness.wait(64)
    assert socket.told == ["expiring"]
    harness.wait(1)
    harness.wait(3600)
    assert socket.told == ["expiring", "expired"]


def test_without_notices(harness: Harness) -> None:
    """A socket that did not ask for notices is closed at the same time, and not told before."""
    socket = harness.enter(3600, spoken([]))
    harness.wait(3604)
    assert socket.told == []
    harness.wait(1)
    assert socket.told == ["expired"]


@pytest.mark.parametrize("lives", [60, 1, -4])
def test_the_last_seconds(harness: Harness, lives: float) -> None:
    """A token that lives less than a minute at AUTH, or only by the leeway, is told of at once."""
    socket = harness.enter(lives)
    assert socket.told == ["expiring"]
    harness.wait(lives + LEEWAY)
    assert socket.told == ["expiring", "expired"]


def test_not_told_before_the_answer(harness: Harness) -> None:
    """A socket that has authenticated but was not answered yet is told nothing, but is closed in time."""
    socket = harness.sockets[1] = Socket(1, NOTICES)
    harness.expiry.watch(socket)
    harness.wait(4)
    assert socket.told == []
    harness.wait(1)
    assert socket.told == ["expired"]


@pytest.mark.parametrize("lives", [7200, 600])
def test_renewal(harness: Harness, lives: float) -> None:
    """Another token moves both times, be it to later or to earlier."""
    socket = harness.enter(3600)
    harness.wait(100)
    harness.renew(socket, lives)
    harness.wait(lives - 61)
    assert socket.told == []
    harness.wait(1)
    assert socket.told == ["expiring"]
    harness.wait(65)
    assert socket.told == ["expiring", "expired"]


def test_renewal_in_the_last_minute(harness: Harness) -> None:
    """A socket that renews when told goes on, and is told again a minute before the next end."""
    socket = harness.enter(3600)
    harness.wait(3550)
    harness.renew(socket, 3600)
    harness.wait(3539)
    assert socket.told == ["expiring"]
    harness.wait(1)
    assert socket.told == ["expiring", "expiring"]


@pytest.mark.parametrize(
    ("policy", "speaks", "is_closed"),
    [
        ("auto", None, False),
        ("auto", [], True),
        ("auto", ["notices"], True),
        ("close", None, True),
        ("close", ["notices"], True),
        ("ignore", None, False),
        ("ignore", ["notices"], False),
    ],
)
def test_policy(policy: Policy, speaks: list[str] | None, is_closed: bool) -> None:
    """TOKEN_EXPIRY says which sockets are closed; one that would not be is not told either."""
    harness = Harness(policy)
    socket = harness.enter(10, spoken(speaks))
    harness.wait(15)
    assert socket.told[-1:] == (["expired"] if is_closed else [])


def test_several(harness: Harness) -> None:
    """Each socket has its own time, and two may have the same."""
    sockets = [harness.enter(lives) for lives in (300, 100, 200, 100)]
    harness.wait(105)
    assert [socket.told[-1:] for socket in sockets] == [[], ["expired"], [], ["expired"]]
    harness.wait(200)
    assert [socket.told[-1] for socket in sockets] == ["expired"] * 4


def test_a_socket_that_is_gone(harness: Harness) -> None:
    """Who has left is not looked at, neither when its time comes nor when its AUTH is handled late."""
    socket = harness.enter(3600)
    harness.leave(socket)
    harness.renew(socket, 10)
    harness.wait(7200)
    assert socket.told == []
    assert entries(harness) == 0


def test_many_renewals(harness: Harness) -> None:
    """However often sockets renew, to later or to earlier, what is kept is as much as there are sockets."""
    sockets = [harness.enter(3600) for _ in range(100)]
    for n in range(10_000):
        harness.renew(sockets[n % 100], 100_000 - n if n % 3 else 100_000 + n)
        assert entries(harness) <= 2 * 100 + SLACK
    for socket in sockets:
        harness.leave(socket)
    assert entries(harness) <= SLACK


def test_an_idle_look(harness: Harness) -> None:
    """A look without anything due looks at no socket."""
    for _ in range(1000):
        harness.enter(3600)
    harness.sockets.clear()  # whoever looked one up would fail
    harness.wait(1)


def entries(harness: Harness) -> int:
    """Return how many times are kept."""
    return len(harness.expiry._heap)
