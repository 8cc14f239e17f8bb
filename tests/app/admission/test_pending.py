"""Who waits, for how long, and who has to go."""

from app.admission.pending import PendingConnections

HERE, THERE = b"here", b"there"


def test_crowding_out() -> None:
    """Past the limit the oldest of the address that has most has to go, however long others wait."""
    pending: PendingConnections[str] = PendingConnections(3, 10)
    for second, (connection, address) in enumerate([("old", THERE), ("a", HERE), ("b", HERE)]):
        pending.add(connection, address, second)
    assert pending.to_evict(3) is None
    pending.add("c", HERE, 3)
    assert pending.to_evict(3) == pending.to_evict(3) == "a"
    pending.remove("a")
    assert pending.to_evict(3) is None


def test_grace() -> None:
    """Nobody has to go before its grace is over."""
    pending: PendingConnections[str] = PendingConnections(0, 10, grace=1)
    pending.add("a", HERE, 5)
    assert pending.to_evict(5.9) is None
    assert pending.to_evict(6) == "a"


def test_overdue() -> None:
    """Who waited too long is named until it leaves; who begins anew has all the time again."""
    pending: PendingConnections[str] = PendingConnections(9, 10)
    for second, connection in enumerate(("a", "b", "c")):
        pending.add(connection, HERE, second)
    pending.add("a", HERE, 5)
    assert pending.expired(10.9) == []
    assert pending.expired(12) == ["b", "c"]
    pending.remove("b")
    assert pending.expired(15) == ["c", "a"]


def test_nobody_is_kept() -> None:
    """Of those who left nothing remains; leaving twice does no harm."""
    pending: PendingConnections[str] = PendingConnections(9, 10)
    pending.add("a", HERE, 0)
    for _ in range(2):
        pending.remove("a")
    assert (len(pending), pending._by_address) == (0, {})
