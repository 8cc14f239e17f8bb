"""Who waits, for how long, and who has to go."""

from app.wire.waiting import WaitingRoom

HERE, THERE = b"here", b"there"


def test_crowding_out() -> None:
    """Past the limit the oldest of the address that has most goes, however long others wait."""
    room: WaitingRoom[str] = WaitingRoom(3, 10)
    assert room.enter("old", THERE, 0) is None
    assert room.enter("first", HERE, 1) is None
    assert room.enter("second", HERE, 2) is None
    assert room.enter("third", HERE, 3) == "first"
    room.leave("first")
    assert room.enter("fourth", HERE, 4) == "second"
    assert len(room) == 4


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
