"""What changed in an org, and how far each peer was told."""

from app.delivery.chronicle import LONGEST, PresenceCursor, PresenceLog
from schemas.peers import Profile
from stores.base import Peer, User

PROFILE = Profile(display_name="A", role="guest", ide="vim")


def peer(name: str) -> Peer:
    return Peer(user=User(name), profile=PROFILE, status="online", address=b"")


def names(chronicle: Chronicle, serial: int) -> list[str]:
    return [peer.user.id for _, peer in chronicle.since(serial)]


def test_since() -> None:
    """Of each peer the latest change is known, the latest of all first."""
    chronicle = Chronicle()
    for serial, name in enumerate("abcab", start=1):
        chronicle.note(serial, peer(name))
    assert names(chronicle, 0) == ["b", "a", "c"]
    assert names(chronicle, 3) == ["b", "a"]
    assert names(chronicle, 5) == []


def test_what_all_have_seen_is_forgotten() -> None:
    """A chronicle holds little more than what somebody has not seen for sure."""
    chronicle = Chronicle()
    slow, quick = chronicle.sights[User("slow")], chronicle.sights[User("quick")] = Sight(0), Sight(0)
    for serial in range(1, 1001):
        chronicle.note(serial, peer(f"p{serial}"))
        slow.confirmed, quick.confirmed = serial - 100, serial
    assert names(chronicle, 900) == [f"p{serial}" for serial in range(1000, 900, -1)]
    assert len(names(chronicle, 0)) < 400


def test_bound() -> None:
    """A chronicle has a longest length, whoever has not seen it."""
    chronicle = Chronicle()
    chronicle.sights[User("blind")] = Sight(0)
    for serial in range(1, 3 * LONGEST):
        chronicle.note(serial, peer(f"p{serial}"))
    assert len(names(chronicle, 0)) <= LONGEST + 1


def test_what_was_told_before_a_handled_event_is_sure() -> None:
    """What was told between two events has arrived if the later of them was handled."""
    sight = Sight(10)
    sight.tell(3, 11)
    sight.tell(3, 12)
    sight.tell(4, 13)
    sight.handled(3)
    assert sight.confirmed == 10
    sight.handled(4)
    assert sight.confirmed == 12
    sight.handled(9)
    assert sight.confirmed == 13


def test_what_was_told_before_a_ping_that_was_answered_is_sure() -> None:
    """An answer to a ping shows that all before the ping arrived, and nothing of what came after it."""
    sight = Sight(0)
    sight.tell(0, 5)
    sight.ping()
    sight.tell(0, 6)
    sight.pong()
    assert sight.confirmed == 5
    sight.resume(0)
    assert (sight.confirmed, list(sight.marks)) == (5, [])
    sight.pong()
    assert sight.confirmed == 5
