"""What changed in an org, and how far each peer was told."""

from app.delivery.presence_log import MOST_CHANGES, PresenceCursor, PresenceLog
from schemas.peers import Profile
from stores.model import Peer, User

PROFILE = Profile(display_name="A", role="guest", ide="vim")


def peer(name: str) -> Peer:
    return Peer(user=User(name), profile=PROFILE, status="online", address=b"")


def names(log: PresenceLog, serial: int) -> list[str]:
    return [peer.user.id for _, peer in log.since(serial)]


def test_since() -> None:
    """Of each peer the latest change is known, the latest of all first."""
    log = PresenceLog(120)
    for serial, name in enumerate("abcab", start=1):
        log.note(serial, peer(name), 0)
    assert names(log, 0) == ["b", "a", "c"]
    assert names(log, 3) == ["b", "a"]
    assert names(log, 5) == []


def test_old_changes_are_forgotten() -> None:
    """A change is known for so long as somebody may come back who missed it."""
    log = PresenceLog(120)
    for serial in range(1, 1001):
        log.note(serial, peer(f"p{serial}"), serial)
    log.prune(1000)
    assert names(log, 0) == [f"p{serial}" for serial in range(1000, 880, -1)]


def test_bound() -> None:
    """There is a bound to how many changes are known."""
    log = PresenceLog(120)
    for serial in range(1, 2 * MOST_CHANGES):
        log.note(serial, peer(f"p{serial}"), 0)
    assert len(log) == MOST_CHANGES
    assert names(log, 0)[0] == f"p{2 * MOST_CHANGES - 1}"


def test_what_was_told_before_a_handled_event_is_sure() -> None:
    """What was told between two events has arrived if the later of them was handled."""
    cursor = PresenceCursor(10)
    cursor.tell(3, 11)
    cursor.tell(3, 12)
    cursor.tell(4, 13)
    cursor.handled(3)
    assert cursor.confirmed == 10
    cursor.handled(4)
    assert cursor.confirmed == 12
    cursor.handled(9)
    assert cursor.confirmed == 13


def test_what_was_told_before_a_ping_that_was_answered_is_sure() -> None:
    """An answer to a ping shows that all before the ping arrived, and nothing of what came after it."""
    cursor = PresenceCursor(0)
    cursor.tell(0, 5)
    cursor.ping()
    cursor.tell(0, 6)
    cursor.pong()
    assert cursor.confirmed == 5
    cursor.resume(0)
    assert (cursor.confirmed, list(cursor.marks)) == (5, [])
    cursor.pong()
    assert cursor.confirmed == 5
