"""Outboxes: order, joined writes, receivers that do not keep up, and bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.delivery.outbox import LIGHT_BYTES, SLICE_BYTES, Outbox, WriteScheduler
from stores.model import User
from tests.support.doubles import ANN, BOB, RecordingTransport, Turns

KIB = 1024
LIMIT = 200 * KIB


class Harness:
    """A write_scheduler with outboxes that count their overflows."""

    def __init__(self, total: int = 1 << 30) -> None:
        self.turns = Turns()
        self.write_scheduler = WriteScheduler(self.turns.call_soon, self.turns.call_later, total)
        self.overflows: list[str] = []
        self.slow: list[str] = []

    def outbox(self, name: str = "a", limit: int = LIMIT) -> tuple[Outbox, RecordingTransport]:
        transport = RecordingTransport()
        return Outbox(
            transport, self.write_scheduler, limit, lambda: self.overflows.append(name), lambda: self.slow.append(name)
        ), transport


@pytest.fixture
def harness() -> Harness:
    return Harness()


def test_one_write_a_turn(harness: Harness) -> None:
    """All that is put down in a turn goes out in one write a socket, in order, by one callback for all."""
    one, first = harness.outbox()
    two, second = harness.outbox()
    one.put(b"1")
    two.put(b"x")
    one.put(b"2")
    one.put_presence(ANN, b"3")
    assert (first.writes, len(harness.turns.due)) == ([], 1)
    harness.turns.end()
    assert (first.writes, second.writes) == ([[b"1", b"2", b"3"]], [[b"x"]])
    one.put(b"4")
    harness.turns.end()
    harness.turns.end()
    assert first.writes[1:] == [[b"4"]]


def test_congestion(harness: Harness) -> None:
    """Events wait while the receiver does not keep up, and go out in order and at once when it does."""
    outbox, transport = harness.outbox()
    outbox.congest()
    outbox.put(b"1")
    harness.turns.end()
    outbox.put(b"2")
    harness.turns.end()
    assert transport.writes == []
    outbox.relieve()
    outbox.put(b"3")
    harness.turns.end()
    assert transport.writes == [[b"1", b"2"], [b"3"]]


def test_presence_in_congestion(harness: Harness) -> None:
    """Of presence updates only the latest of each peer waits, and they go ahead of the events that wait."""
    outbox, transport = harness.outbox()
    outbox.congest()
    outbox.put_presence(ANN, b"ann online")
    outbox.put_presence(BOB, b"bob online")
    outbox.put_presence(ANN, b"ann offline")
    outbox.put(b"event")
    harness.turns.end()
    outbox.relieve()
    (write,) = transport.writes
    assert sorted(write[:2]) == [b"ann offline", b"bob online"]
    assert write[2:] == [b"event"]
    outbox.congest()
    outbox.relieve()
    harness.turns.end()
    assert len(transport.writes) == 1


def test_presence_from_before_the_congestion(harness: Harness) -> None:
    """An update put down before the congestion does not come after a later one of the same peer."""
    outbox, transport = harness.outbox()
    outbox.put_presence(ANN, b"ann online")
    outbox.congest()
    outbox.put_presence(ANN, b"ann offline")
    harness.turns.end()
    outbox.relieve()
    assert [payload for write in transport.writes for payload in write][-1] == b"ann offline"


def test_presence_between_events(harness: Harness) -> None:
    """An update does not overtake an event put down before it, which may be a list that shows how it was."""
    outbox, transport = harness.outbox()
    outbox.congest()
    outbox.put_presence(ANN, b"ann away")
    outbox.put(b"a list with ann online")
    outbox.put_presence(ANN, b"ann offline")
    outbox.relieve()
    assert transport.writes[0][-2:] == [b"a list with ann online", b"ann offline"]


def test_overflow(harness: Harness) -> None:
    """At its limit an outbox is as it was, beyond it all is let go; that is said once, and nothing more is taken."""
    outbox, transport = harness.outbox()
    outbox.congest()
    outbox.put(b"x" * LIMIT)
    assert (harness.overflows, harness.write_scheduler.held) == ([], LIMIT)
    outbox.put(b"x")
    assert (harness.overflows, harness.write_scheduler.held, outbox.is_open) == (["a"], 0, False)
    outbox.put(b"x" * (LIMIT + 1))
    outbox.put_presence(ANN, b"x")
    outbox.relieve()
    harness.turns.end()
    assert (harness.overflows, harness.write_scheduler.held, transport.writes) == (["a"], 0, [])


def test_the_backlog_counts(harness: Harness) -> None:
    """What the transport holds counts towards the limit."""
    outbox, transport = harness.outbox()
    transport.waiting = LIMIT - LIGHT_BYTES
    outbox.congest()
    outbox.put(b"x" * LIGHT_BYTES)
    assert harness.overflows == []
    outbox.put(b"x")
    assert harness.overflows == ["a"]


def test_many_small_events(harness: Harness) -> None:
    """A slow receiver of small events overflows too."""
    outbox, _ = harness.outbox()
    outbox.congest()
    for _ in range(LIMIT // 100 + 1):
        outbox.put(b"x" * 100)
        harness.turns.end()
    assert harness.overflows == ["a"]


def test_the_heaviest_goes_first() -> None:
    """Where all outboxes together hold too much, the heaviest overflow until it fits."""
    harness = Harness(total=300 * KIB)
    outboxes = {name: harness.outbox(name)[0] for name in ("small", "big", "middle")}
    for name, size in (("small", 80), ("big", 120), ("middle", 100)):
        outboxes[name].congest()
        outboxes[name].put(b"x" * (size * KIB))
    assert (harness.overflows, harness.write_scheduler.held) == ([], 300 * KIB)
    outboxes["small"].put(b"x")
    assert (harness.overflows, harness.write_scheduler.held) == (["big"], 180 * KIB + 1)
    outboxes["middle"].put(b"x" * (80 * KIB))
    assert (harness.overflows, harness.write_scheduler.held) == (["big"], 260 * KIB + 1)
    outboxes["small"].put(b"x" * (90 * KIB))
    assert (harness.overflows, harness.write_scheduler.held) == (["big", "middle"], 170 * KIB + 1)


@pytest.mark.parametrize("end", ["flush", "relieve", "close", "close while congested", "overflow"])
def test_counters_return_to_zero(harness: Harness, end: str) -> None:
    """However an outbox empties, nothing stays counted."""
    outbox, _ = harness.outbox()
    if end in {"relieve", "close while congested", "overflow"}:
        outbox.congest()
    outbox.put(b"x" * (LIGHT_BYTES + 1))
    assert harness.write_scheduler.held == (LIGHT_BYTES + 1) * outbox.is_congested
    match end:
        case "relieve":
            outbox.relieve()
        case "overflow":
            outbox.overflow()
        case "close" | "close while congested":
            outbox.close()
    harness.turns.end()
    assert harness.write_scheduler.held == 0
    outbox.put(b"x")
    harness.turns.end()
    assert harness.write_scheduler.held == 0


def test_counters_after_a_replaced_update(harness: Harness) -> None:
    """A shorter update in the place of a longer one leaves nothing counted either."""
    outbox, _ = harness.outbox()
    outbox.congest()
    outbox.put_presence(ANN, b"long update")
    outbox.put_presence(BOB, b"x" * (LIGHT_BYTES - 10))
    assert harness.write_scheduler.held == LIGHT_BYTES + 1
    outbox.put_presence(ANN, b"short")
    outbox.relieve()
    harness.turns.end()
    assert harness.write_scheduler.held == 0


def test_close(harness: Harness) -> None:
    """Closing writes out what there is, once, and takes nothing more."""
    outbox, transport = harness.outbox()
    outbox.put(b"1")
    outbox.close()
    outbox.put(b"2")
    outbox.put_presence(ANN, b"3")
    outbox.close()
    harness.turns.end()
    assert transport.writes == [[b"1"]]


def test_a_transport_gone_wrong(harness: Harness) -> None:
    """A transport that cannot be written to is given up, and the others of the turn are written to."""
    broken, transport = harness.outbox()
    outbox, other = harness.outbox()
    transport.write = _raise  # type: ignore[method-assign]
    broken.put(b"1")
    outbox.put(b"2")
    harness.turns.end()
    assert (broken.is_open, other.writes) == (False, [[b"2"]])


def test_a_burst_to_a_transport_gone_wrong(harness: Harness) -> None:
    """Whoever sends so much that it is written at once does not notice that the receiver's transport broke."""
    broken, transport = harness.outbox()
    transport.write = _raise  # type: ignore[method-assign]
    broken.put(b"x" * (LIGHT_BYTES + 1))
    assert (broken.is_open, harness.overflows) == (False, [])


def test_last_words_of_a_slow_one(harness: Harness) -> None:
    """What was put before a close goes out, even if the receiver does not keep up."""
    outbox, transport = harness.outbox()
    outbox.congest()
    outbox.put(b"why")
    outbox.close()
    assert transport.writes == [[b"why"]]


def _raise(payloads: list[bytes]) -> None:
    raise OSError("gone")


def test_a_burst_to_one_who_reads(harness: Harness) -> None:
    """However much comes in one turn, a receiver that keeps up gets it all: it is written before it is held."""
    outbox, transport = harness.outbox()
    for _ in range(10):
        outbox.put(b"x" * LIMIT)
    harness.turns.end()
    assert (harness.overflows, sum(map(len, transport.writes))) == ([], 10)


def test_what_was_kept_is_granted(harness: Harness) -> None:
    """Mail that is delivered at once does not count against the limit."""
    outbox, _ = harness.outbox()
    outbox.congest()
    outbox.grant(3 * LIMIT)
    for _ in range(4):
        outbox.put(b"x" * LIMIT)
    assert harness.overflows == []
    outbox.put(b"x")
    assert harness.overflows == ["a"]


def test_what_the_transport_holds_counts(harness: Harness) -> None:
    """What was written but not taken by the kernel counts as held, from the moment the receiver does not keep up."""
    outbox, transport = harness.outbox()
    transport.waiting = 1000
    outbox.congest()
    assert harness.write_scheduler.held == 1000
    transport.waiting = 0
    outbox.relieve()
    assert harness.write_scheduler.held == 0


def test_updates_are_shed_at_the_limit(harness: Harness) -> None:
    """At the limit earlier updates of a peer go, wherever they wait; the latest stays where it is."""
    outbox, transport = harness.outbox(limit=30)
    outbox.congest()
    for payload in (b"ann 1", b"event", b"ann 2", b"event"):
        (outbox.put if payload == b"event" else lambda update: outbox.put_presence(ANN, update))(payload)
    outbox.put_presence(BOB, b"bob 1")
    outbox.put_presence(BOB, b"bob 2")
    assert harness.write_scheduler.held == 25
    outbox.put(b"at the end")
    assert (harness.overflows, harness.write_scheduler.held) == ([], 30)
    outbox.put_presence(ANN, b"ann 3")
    assert (harness.overflows, harness.write_scheduler.held) == ([], 30)
    outbox.relieve()
    assert transport.writes == [[b"event", b"event", b"bob 2", b"at the end", b"ann 3"]]


def test_shedding_may_not_be_enough(harness: Harness) -> None:
    """What is left without old updates may still be too much."""
    outbox, _ = harness.outbox(limit=30)
    outbox.congest()
    outbox.put_presence(ANN, b"ann 1")
    outbox.put(b"x" * 25)
    outbox.put_presence(ANN, b"ann 2")
    assert harness.overflows == []
    outbox.put(b"x")
    assert harness.overflows == ["a"]


@given(
    st.lists(st.one_of(st.integers(0, 3).map(lambda peer: User(f"{peer}")), st.just(None)), max_size=60),
    st.integers(100, 400),
)
def test_updates_never_go_back_in_time(what: list[User | None], limit: int) -> None:
    """However updates and events wait: events keep their order, and a peer's last word follows all put before it."""
    harness = Harness()
    outbox, transport = harness.outbox(limit=limit)
    outbox.congest()
    for number, peer in enumerate(what):
        if peer is None:
            outbox.put(b"%08d" % number)
        else:
            outbox.put_presence(peer, b"%08d" % number)
    outbox.relieve()
    if harness.overflows:
        return
    seen = [int(payload) for write in transport.writes for payload in write]
    assert [number for number in seen if what[number] is None] == [n for n, peer in enumerate(what) if peer is None]
    for peer in {peer for peer in what if peer is not None}:
        last = max(number for number, each in enumerate(what) if each == peer)
        place = seen.index(last)
        assert all(what[number] != peer for number in seen[place + 1 :])
        assert all(number in seen[:place] for number in range(last) if what[number] is None)


def test_slow(harness: Harness) -> None:
    """Past half of the limit the owner is told, once a congestion."""
    outbox, transport = harness.outbox()
    for times in (1, 2):
        outbox.congest()
        outbox.put(b"x" * (LIMIT // 2))
        assert len(harness.slow) == times - 1
        outbox.put(b"x")
        outbox.put(b"x")
        assert len(harness.slow) == times
        outbox.relieve()
    assert harness.overflows == []
    assert transport.writes


def test_first(harness: Harness) -> None:
    """What has no order to keep can be put ahead of all that waits, and updates are still told apart."""
    outbox, transport = harness.outbox(limit=30)
    outbox.congest()
    outbox.put_first(b"0")
    outbox.put_presence(ANN, b"ann 1")
    outbox.put(b"event")
    outbox.put_first(b"first")
    outbox.put_presence(ANN, b"ann 2")
    outbox.put(b"x" * 12)
    outbox.relieve()
    assert transport.writes == [[b"first", b"0", b"event", b"ann 2", b"x" * 12]]


def test_slices(harness: Harness) -> None:
    """What waited long is written piece by piece, until the transport has enough; the rest goes on waiting."""
    outbox, transport = harness.outbox(limit=1 << 30)
    outbox.congest()
    events = [b"%d" % number + b"x" * SLICE_BYTES for number in range(4)]
    for event in events:
        outbox.put(event)
    transport.on_write = lambda: outbox.congest() if len(transport.writes) == 2 else None
    outbox.relieve()
    assert transport.writes == [events[:1], events[1:2]]
    assert harness.write_scheduler.held == 2 * len(events[0])
    outbox.close()
    assert transport.writes[2:] == [events[2:]]
    assert harness.write_scheduler.held == 0


def test_patience(harness: Harness) -> None:
    """The first that can wait goes out with the turn; those that follow it soon go out together, a little later."""
    outbox, transport = harness.outbox()
    for number in range(3):
        outbox.put_coalesced(b"%d" % number)
        harness.turns.end()
    assert transport.writes == [[b"0"]]
    harness.turns.pass_time()
    assert transport.writes == [[b"0"], [b"1", b"2"]]


def test_patience_ends(harness: Harness) -> None:
    """Once nothing that can wait came for a while, the next goes out with the turn again, and no timer runs."""
    outbox, transport = harness.outbox()
    outbox.put_coalesced(b"0")
    harness.turns.end()
    harness.turns.pass_time()
    assert harness.turns.later == []
    outbox.put_coalesced(b"1")
    harness.turns.end()
    assert transport.writes == [[b"0"], [b"1"]]


def test_what_waits_goes_with_what_does_not(harness: Harness) -> None:
    """The order stays: what can wait goes out before that which comes after it and cannot."""
    outbox, transport = harness.outbox()
    outbox.put_coalesced(b"0")
    harness.turns.end()
    outbox.put_coalesced(b"1")
    outbox.put(b"2")
    harness.turns.end()
    assert transport.writes == [[b"0"], [b"1", b"2"]]
    harness.turns.pass_time()
    assert len(transport.writes) == 2


def test_what_waits_goes_out_at_the_close(harness: Harness) -> None:
    outbox, transport = harness.outbox()
    outbox.put_coalesced(b"0")
    harness.turns.end()
    outbox.put_coalesced(b"1")
    outbox.close()
    harness.turns.pass_time()
    assert transport.writes == [[b"0"], [b"1"]]


def test_patience_with_a_slow_reader(harness: Harness) -> None:
    """What waits for a reader who does not keep up is held like all else, and goes out when it does again."""
    outbox, transport = harness.outbox()
    outbox.congest()
    outbox.put_coalesced(b"0")
    harness.turns.end()
    harness.turns.pass_time()
    assert transport.writes == []
    outbox.relieve()
    assert transport.writes == [[b"0"]]
