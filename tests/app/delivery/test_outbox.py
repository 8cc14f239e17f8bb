"""Outboxes: order, joined writes, receivers that do not keep up, and bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.delivery.outbox import LIGHT_BYTES, SLICE_BYTES, Flusher, Outbox
from stores.model import User
from tests.support.doubles import ANN, BOB, RecordingTransport, Turns

KIB = 1024
LIMIT = 200 * KIB


class House:
    """A flusher with outboxes that count their overflows."""

    def __init__(self, total: int = 1 << 30) -> None:
        self.turns = Turns()
        self.flusher = Flusher(self.turns.call_soon, self.turns.call_later, total)
        self.overflows: list[str] = []
        self.slow: list[str] = []

    def outbox(self, name: str = "a", limit: int = LIMIT) -> tuple[Outbox, RecordingTransport]:
        transport = RecordingTransport()
        return Outbox(
            transport, self.flusher, limit, lambda: self.overflows.append(name), lambda: self.slow.append(name)
        ), transport


@pytest.fixture
def house() -> House:
    return House()


def test_one_write_a_turn(house: House) -> None:
    """All that is put down in a turn goes out in one write a socket, in order, by one callback for all."""
    one, first = house.outbox()
    two, second = house.outbox()
    one.put(b"1")
    two.put(b"x")
    one.put(b"2")
    one.put_presence(ANN, b"3")
    assert (first.writes, len(house.turns.due)) == ([], 1)
    house.turns.end()
    assert (first.writes, second.writes) == ([[b"1", b"2", b"3"]], [[b"x"]])
    one.put(b"4")
    house.turns.end()
    house.turns.end()
    assert first.writes[1:] == [[b"4"]]


def test_congestion(house: House) -> None:
    """Events wait while the receiver does not keep up, and go out in order and at once when it does."""
    outbox, transport = house.outbox()
    outbox.congest()
    outbox.put(b"1")
    house.turns.end()
    outbox.put(b"2")
    house.turns.end()
    assert transport.writes == []
    outbox.relieve()
    outbox.put(b"3")
    house.turns.end()
    assert transport.writes == [[b"1", b"2"], [b"3"]]


def test_presence_in_congestion(house: House) -> None:
    """Of presence updates only the latest of each peer waits, and they go ahead of the events that wait."""
    outbox, transport = house.outbox()
    outbox.congest()
    outbox.put_presence(ANN, b"ann online")
    outbox.put_presence(BOB, b"bob online")
    outbox.put_presence(ANN, b"ann offline")
    outbox.put(b"event")
    house.turns.end()
    outbox.relieve()
    (write,) = transport.writes
    assert sorted(write[:2]) == [b"ann offline", b"bob online"]
    assert write[2:] == [b"event"]
    outbox.congest()
    outbox.relieve()
    house.turns.end()
    assert len(transport.writes) == 1


def test_presence_from_before_the_congestion(house: House) -> None:
    """An update put down before the congestion does not come after a later one of the same peer."""
    outbox, transport = house.outbox()
    outbox.put_presence(ANN, b"ann online")
    outbox.congest()
    outbox.put_presence(ANN, b"ann offline")
    house.turns.end()
    outbox.relieve()
    assert [payload for write in transport.writes for payload in write][-1] == b"ann offline"


def test_presence_between_events(house: House) -> None:
    """An update does not overtake an event put down before it, which may be a list that shows how it was."""
    outbox, transport = house.outbox()
    outbox.congest()
    outbox.put_presence(ANN, b"ann away")
    outbox.put(b"a list with ann online")
    outbox.put_presence(ANN, b"ann offline")
    outbox.relieve()
    assert transport.writes[0][-2:] == [b"a list with ann online", b"ann offline"]


def test_overflow(house: House) -> None:
    """At its limit an outbox is as it was, beyond it all is let go; that is said once, and nothing more is taken."""
    outbox, transport = house.outbox()
    outbox.congest()
    outbox.put(b"x" * LIMIT)
    assert (house.overflows, house.flusher.held) == ([], LIMIT)
    outbox.put(b"x")
    assert (house.overflows, house.flusher.held, outbox.is_open) == (["a"], 0, False)
    outbox.put(b"x" * (LIMIT + 1))
    outbox.put_presence(ANN, b"x")
    outbox.relieve()
    house.turns.end()
    assert (house.overflows, house.flusher.held, transport.writes) == (["a"], 0, [])


def test_the_backlog_counts(house: House) -> None:
    """What the transport holds counts towards the limit."""
    outbox, transport = house.outbox()
    transport.waiting = LIMIT - LIGHT_BYTES
    outbox.congest()
    outbox.put(b"x" * LIGHT_BYTES)
    assert house.overflows == []
    outbox.put(b"x")
    assert house.overflows == ["a"]


def test_many_small_events(house: House) -> None:
    """A slow receiver of small events overflows too."""
    outbox, _ = house.outbox()
    outbox.congest()
    for _ in range(LIMIT // 100 + 1):
        outbox.put(b"x" * 100)
        house.turns.end()
    assert house.overflows == ["a"]


def test_the_heaviest_goes_first() -> None:
    """Where all outboxes together hold too much, the heaviest overflow until it fits."""
    house = House(total=300 * KIB)
    outboxes = {name: house.outbox(name)[0] for name in ("small", "big", "middle")}
    for name, size in (("small", 80), ("big", 120), ("middle", 100)):
        outboxes[name].congest()
        outboxes[name].put(b"x" * (size * KIB))
    assert (house.overflows, house.flusher.held) == ([], 300 * KIB)
    outboxes["small"].put(b"x")
    assert (house.overflows, house.flusher.held) == (["big"], 180 * KIB + 1)
    outboxes["middle"].put(b"x" * (80 * KIB))
    assert (house.overflows, house.flusher.held) == (["big"], 260 * KIB + 1)
    outboxes["small"].put(b"x" * (90 * KIB))
    assert (house.overflows, house.flusher.held) == (["big", "middle"], 170 * KIB + 1)


@pytest.mark.parametrize("end", ["flush", "relieve", "close", "close while congested", "overflow"])
def test_counters_return_to_zero(house: House, end: str) -> None:
    """However an outbox empties, nothing stays counted."""
    outbox, _ = house.outbox()
    if end in {"relieve", "close while congested", "overflow"}:
        outbox.congest()
    outbox.put(b"x" * (LIGHT_BYTES + 1))
    assert house.flusher.held == (LIGHT_BYTES + 1) * outbox.is_congested
    match end:
        case "relieve":
            outbox.relieve()
        case "overflow":
            outbox.overflow()
        case "close" | "close while congested":
            outbox.close()
    house.turns.end()
    assert house.flusher.held == 0
    outbox.put(b"x")
    house.turns.end()
    assert house.flusher.held == 0


def test_counters_after_a_replaced_update(house: House) -> None:
    """A shorter update in the place of a longer one leaves nothing counted either."""
    outbox, _ = house.outbox()
    outbox.congest()
    outbox.put_presence(ANN, b"long update")
    outbox.put_presence(BOB, b"x" * (LIGHT_BYTES - 10))
    assert house.flusher.held == LIGHT_BYTES + 1
    outbox.put_presence(ANN, b"short")
    outbox.relieve()
    house.turns.end()
    assert house.flusher.held == 0


def test_close(house: House) -> None:
    """Closing writes out what there is, once, and takes nothing more."""
    outbox, transport = house.outbox()
    outbox.put(b"1")
    outbox.close()
    outbox.put(b"2")
    outbox.put_presence(ANN, b"3")
    outbox.close()
    house.turns.end()
    assert transport.writes == [[b"1"]]


def test_a_transport_gone_wrong(house: House) -> None:
    """A transport that cannot be written to is given up, and the others of the turn are written to."""
    broken, transport = house.outbox()
    outbox, other = house.outbox()
    transport.write = _raise  # type: ignore[method-assign]
    broken.put(b"1")
    outbox.put(b"2")
    house.turns.end()
    assert (broken.is_open, other.writes) == (False, [[b"2"]])


def test_a_burst_to_a_transport_gone_wrong(house: House) -> None:
    """Whoever sends so much that it is written at once does not notice that the receiver's transport broke."""
    broken, transport = house.outbox()
    transport.write = _raise  # type: ignore[method-assign]
    broken.put(b"x" * (LIGHT_BYTES + 1))
    assert (broken.is_open, house.overflows) == (False, [])


def test_last_words_of_a_slow_one(house: House) -> None:
    """What was put before a close goes out, even if the receiver does not keep up."""
    outbox, transport = house.outbox()
    outbox.congest()
    outbox.put(b"why")
    outbox.close()
    assert transport.writes == [[b"why"]]


def _raise(payloads: list[bytes]) -> None:
    raise OSError("gone")


def test_a_burst_to_one_who_reads(house: House) -> None:
    """However much comes in one turn, a receiver that keeps up gets it all: it is written before it is held."""
    outbox, transport = house.outbox()
    for _ in range(10):
        outbox.put(b"x" * LIMIT)
    house.turns.end()
    assert (house.overflows, sum(map(len, transport.writes))) == ([], 10)


def test_what_was_kept_is_granted(house: House) -> None:
    """Mail that is delivered at once does not count against the limit."""
    outbox, _ = house.outbox()
    outbox.congest()
    outbox.grant(3 * LIMIT)
    for _ in range(4):
        outbox.put(b"x" * LIMIT)
    assert house.overflows == []
    outbox.put(b"x")
    assert house.overflows == ["a"]


def test_what_the_transport_holds_counts(house: House) -> None:
    """What was written but not taken by the kernel counts as held, from the moment the receiver does not keep up."""
    outbox, transport = house.outbox()
    transport.waiting = 1000
    outbox.congest()
    assert house.flusher.held == 1000
    transport.waiting = 0
    outbox.relieve()
    assert house.flusher.held == 0


def test_updates_are_shed_at_the_limit(house: House) -> None:
    """At the limit earlier updates of a peer go, wherever they wait; the latest stays where it is."""
    outbox, transport = house.outbox(limit=30)
    outbox.congest()
    for payload in (b"ann 1", b"event", b"ann 2", b"event"):
        (outbox.put if payload == b"event" else lambda update: outbox.put_presence(ANN, update))(payload)
    outbox.put_presence(BOB, b"bob 1")
    outbox.put_presence(BOB, b"bob 2")
    assert house.flusher.held == 25
    outbox.put(b"at the end")
    assert (house.overflows, house.flusher.held) == ([], 30)
    outbox.put_presence(ANN, b"ann 3")
    assert (house.overflows, house.flusher.held) == ([], 30)
    outbox.relieve()
    assert transport.writes == [[b"event", b"event", b"bob 2", b"at the end", b"ann 3"]]


def test_shedding_may_not_be_enough(house: House) -> None:
    """What is left without old updates may still be too much."""
    outbox, _ = house.outbox(limit=30)
    outbox.congest()
    outbox.put_presence(ANN, b"ann 1")
    outbox.put(b"x" * 25)
    outbox.put_presence(ANN, b"ann 2")
    assert house.overflows == []
    outbox.put(b"x")
    assert house.overflows == ["a"]


@given(
    st.lists(st.one_of(st.integers(0, 3).map(lambda peer: User(f"{peer}")), st.just(None)), max_size=60),
    st.integers(100, 400),
)
def test_updates_never_go_back_in_time(what: list[User | None], limit: int) -> None:
    """However updates and events wait: events keep their order, and a peer's last word follows all put before it."""
    house = House()
    outbox, transport = house.outbox(limit=limit)
    outbox.congest()
    for number, peer in enumerate(what):
        if peer is None:
            outbox.put(b"%08d" % number)
        else:
            outbox.put_presence(peer, b"%08d" % number)
    outbox.relieve()
    if house.overflows:
        return
    seen = [int(payload) for write in transport.writes for payload in write]
    assert [number for number in seen if what[number] is None] == [n for n, peer in enumerate(what) if peer is None]
    for peer in {peer for peer in what if peer is not None}:
        last = max(number for number, each in enumerate(what) if each == peer)
        place = seen.index(last)
        assert all(what[number] != peer for number in seen[place + 1 :])
        assert all(number in seen[:place] for number in range(last) if what[number] is None)


def test_slow(house: House) -> None:
    """Past half of the limit the owner is told, once a congestion."""
    outbox, transport = house.outbox()
    for times in (1, 2):
        outbox.congest()
        outbox.put(b"x" * (LIMIT // 2))
        assert len(house.slow) == times - 1
        outbox.put(b"x")
        outbox.put(b"x")
        assert len(house.slow) == times
        outbox.relieve()
    assert house.overflows == []
    assert transport.writes


def test_first(house: House) -> None:
    """What has no order to keep can be put ahead of all that waits, and updates are still told apart."""
    outbox, transport = house.outbox(limit=30)
    outbox.congest()
    outbox.put_first(b"0")
    outbox.put_presence(ANN, b"ann 1")
    outbox.put(b"event")
    outbox.put_first(b"first")
    outbox.put_presence(ANN, b"ann 2")
    outbox.put(b"x" * 12)
    outbox.relieve()
    assert transport.writes == [[b"first", b"0", b"event", b"ann 2", b"x" * 12]]


def test_slices(house: House) -> None:
    """What waited long is written piece by piece, until the transport has enough; the rest goes on waiting."""
    outbox, transport = house.outbox(limit=1 << 30)
    outbox.congest()
    events = [b"%d" % number + b"x" * SLICE_BYTES for number in range(4)]
    for event in events:
        outbox.put(event)
    transport.on_write = lambda: outbox.congest() if len(transport.writes) == 2 else None
    outbox.relieve()
    assert transport.writes == [events[:1], events[1:2]]
    assert house.flusher.held == 2 * len(events[0])
    outbox.close()
    assert transport.writes[2:] == [events[2:]]
    assert house.flusher.held == 0


def test_patience(house: House) -> None:
    """The first that can wait goes out with the turn; those that follow it soon go out together, a little later."""
    outbox, transport = house.outbox()
    for number in range(3):
        outbox.put_patiently(b"%d" % number)
        house.turns.end()
    assert transport.writes == [[b"0"]]
    house.turns.pass_time()
    assert transport.writes == [[b"0"], [b"1", b"2"]]


def test_patience_ends(house: House) -> None:
    """Once nothing that can wait came for a while, the next goes out with the turn again, and no timer runs."""
    outbox, transport = house.outbox()
    outbox.put_patiently(b"0")
    house.turns.end()
    house.turns.pass_time()
    assert house.turns.later == []
    outbox.put_patiently(b"1")
    house.turns.end()
    assert transport.writes == [[b"0"], [b"1"]]


def test_what_waits_goes_with_what_does_not(house: House) -> None:
    """The order stays: what can wait goes out before that which comes after it and cannot."""
    outbox, transport = house.outbox()
    outbox.put_patiently(b"0")
    house.turns.end()
    outbox.put_patiently(b"1")
    outbox.put(b"2")
    house.turns.end()
    assert transport.writes == [[b"0"], [b"1", b"2"]]
    house.turns.pass_time()
    assert len(transport.writes) == 2


def test_what_waits_goes_out_at_the_close(house: House) -> None:
    outbox, transport = house.outbox()
    outbox.put_patiently(b"0")
    house.turns.end()
    outbox.put_patiently(b"1")
    outbox.close()
    house.turns.pass_time()
    assert transport.writes == [[b"0"], [b"1"]]


def test_patience_with_a_slow_reader(house: House) -> None:
    """What waits for a reader who does not keep up is held like all else, and goes out when it does again."""
    outbox, transport = house.outbox()
    outbox.congest()
    outbox.put_patiently(b"0")
    house.turns.end()
    house.turns.pass_time()
    assert transport.writes == []
    outbox.relieve()
    assert transport.writes == [[b"0"]]
