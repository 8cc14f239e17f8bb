"""Who waits, for how long, and who has to go."""

from app.admission.pending import WaitingRoom

HERE, THERE = b"here", b"there"


def test_crowding_out() -> None:
    """Past the limit the oldest of the address that has most has to go, however long others wait."""
    room: WaitingRoom[str] = WaitingRoom(3, 10)
    for second, (guest, address) in enumerate([("old", THERE), ("a", HERE), ("b", HERE)]):
        room.enter(guest, address, second)
    assert room.one_too_many(3) is None
    room.enter("c", HERE, 3)
    assert room.one_too_many(3) == room.one_too_many(3) == "a"
    room.leave("a")
    assert room.one_too_many(3) is None


def test_grace() -> None:
    """Nobody has to go before its grace is over."""
    room: WaitingRoom[str] = WaitingRoom(0, 10, grace=1)
    room.enter("a", HERE, 5)
    assert room.one_too_many(5.9) is None
    assert room.one_too_many(6) == "a"


def test_overdue() -> None:
    """Who waited too long is named until it leaves; who begins anew has all the time again."""
    room: WaitingRoom[str] = WaitingRoom(9, 10)
    for second, guest in enumerate(("a", "b", "c")):
        room.enter(guest, HERE, second)
    room.enter("a", HERE, 5)
    assert room.overdue(10.9) == []
    assert room.overdue(12) == ["b", "c"]
    room.leave("b")
    assert room.overdue(15) == ["c", "a"]


def test_nobody_is_kept() -> None:
    """Of those who left nothing remains; leaving twice does no harm."""
    room: WaitingRoom[str] = WaitingRoom(9, 10)
    room.enter("a", HERE, 0)
    for _ in range(2):
        room.leave("a")
    assert (len(room), room._by_address) == (0, {})
