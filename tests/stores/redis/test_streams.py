"""What goes from node to node, over channels that lose, repeat and disorder."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stores.bus import Standing
from stores.redis import streams
from stores.redis.streams import ANY_STREAM, RETAINED_BYTES, SUBSCRIBER_BYTES, Again, Batch, Had, Incoming, Outgoing

decode = msgspec.msgpack.Decoder(Batch).decode
SHARE = SUBSCRIBER_BYTES // 2
PARCEL = "x" * (SHARE // 16)


def sent(outgoing: Outgoing, *parcels: object) -> Batch:
    """Return what goes out of these."""
    for parcel in parcels:
        outgoing.put(parcel, 1)
    return decode(outgoing.take())


def came(incoming: Incoming, batch: Batch) -> list[Any]:
    """Return what comes in by a batch."""
    return [parcel for parcels in incoming.take(batch) for parcel in msgspec.msgpack.decode(parcels)]


def taken(outgoing: Outgoing) -> list[Batch]:
    """Return what goes out now."""
    batches = []
    while outgoing.may_go:
        batches.append(decode(outgoing.take()))
    return batches


def filled(count: int, standing: Standing | None = None) -> Outgoing:
    """Return what has so many numbered parcels of a sixteenth of what may be on its way."""
    outgoing = Outgoing("a", 1, standing or Standing())
    for number in range(count):
        outgoing.put([number, PARCEL], len(PARCEL))
    return outgoing


def numbers(batches: list[Batch]) -> list[int]:
    """Return the numbers of the parcels in these."""
    return [number for batch in batches for number, _ in msgspec.msgpack.decode(batch.parcels)]


@given(st.data())
def test_once_and_in_order(data: st.DataObject) -> None:
    """Whatever the channel does, what is asked for again comes once, in order."""
    outgoing, incoming = Outgoing("a", 1, Standing()), Incoming(1, Standing())
    batches = [sent(outgoing, n) for n in range(data.draw(st.integers(1, 12)))]
    got: list[object] = []
    for batch in data.draw(st.lists(st.sampled_from(batches), max_size=30)):
        got += came(incoming, batch)
    outgoing.hear(Again("b", 1, incoming.expected))
    for again in taken(outgoing):
        got += came(incoming, again)
    assert got == list(range(len(batches)))
    assert not incoming.has_gap


def test_what_is_not_retained_is_lost() -> None:
    """Who was away for too long goes on with the oldest that there is, and counts what it missed."""
    standing = Standing()
    outgoing, incoming = Outgoing("a", 1, Standing()), Incoming(1, standing)
    batches = [sent(outgoing, "x") for _ in range(streams.RETAINED_BATCHES + 5)]
    assert came(incoming, batches[-1]) == []
    assert incoming.has_gap
    assert (standing.lost, incoming.expected) == (5, 6)


def test_another_stream() -> None:
    """What belonged to a stream that is over is not sent again."""
    outgoing = Outgoing("a", 2, Standing())
    sent(outgoing, "x")
    outgoing.hear(Again("b", 1, 1))
    assert outgoing.is_done
    outgoing.hear(Again("b", ANY_STREAM, 1))
    assert [batch.serial for batch in taken(outgoing)] == [1]


def test_waiting_is_bounded() -> None:
    """What has no room is lost; what waits already stays, and goes in its order."""
    standing = Standing()
    outgoing = Outgoing("a", 1, standing)
    for number in range(10):
        outgoing.put([number, ""], streams.WAITING_BYTES // 4)
    assert (outgoing.waiting, standing.dropped) == (4, 6)
    assert numbers(taken(outgoing)) == [0, 1, 2, 3]


def test_little_goes_at_once() -> None:
    """What waits is one batch, which asks for nothing, whatever is on its way already."""
    outgoing = Outgoing("a", 1, Standing())
    for serial in range(1, 4):
        for number in range(100):
            outgoing.put(number, 500)
        (batch,) = taken(outgoing)
        assert (batch.serial, batch.asks) == (serial, False)
        assert msgspec.msgpack.decode(batch.parcels) == list(range(100))


def test_much_goes_bit_by_bit() -> None:
    """Batches are bounded, and so is what is not known to have arrived; the rest follows as that is known."""
    outgoing, incoming = filled(100), Incoming(1, Standing())
    got: list[int] = []
    while not outgoing.is_done:
        batches = taken(outgoing)
        sizes = [len(batch.parcels) for batch in batches]
        assert max(sizes) <= SHARE // 4 * 1.01
        assert sum(sizes) <= SHARE * 1.3
        asked = [batch.serial for batch in batches if batch.asks]
        assert asked or outgoing.is_done
        for batch in batches:
            assert incoming.take(batch)
        got += numbers(batches)
        outgoing.hear(Had("b", 1, asked[-1] if asked else 0))
    assert got == list(range(100))
    assert outgoing.waiting == 0


def test_a_large_parcel_goes_alone() -> None:
    """One that is larger than all that may be on its way goes by itself, and what comes after it waits."""
    outgoing = Outgoing("a", 1, Standing())
    for parcel in ("small", "x" * SHARE * 2, "last"):
        outgoing.put(parcel, len(parcel))
    batches = taken(outgoing)
    assert [len(msgspec.msgpack.decode(batch.parcels)) for batch in batches] == [1, 1]
    assert batches[-1].asks
    outgoing.hear(Had("b", 1, batches[-1].serial))
    assert [msgspec.msgpack.decode(batch.parcels) for batch in taken(outgoing)] == [["last"]]


def test_many_nodes_share() -> None:
    """The more nodes there are the less each has on its way to another one."""
    outgoing = filled(100, Standing(nodes=16))
    assert sum(len(batch.parcels) for batch in taken(outgoing)) <= SHARE // 8 * 1.6


def test_nobody_waits_for_what_was_not_asked() -> None:
    """Where a node comes to have a smaller share than it has on its way, it asks before it waits for an answer."""
    standing = Standing(nodes=2)
    outgoing = filled(6, standing)
    assert not any(batch.asks for batch in taken(outgoing))
    standing.nodes = 64
    outgoing.put([6, ""], 1)
    (batch,) = taken(outgoing)
    assert batch.asks


def test_asked_again_for_much() -> None:
    """What goes again is bounded likewise, goes on by itself, and is followed by what waits."""
    outgoing, incoming = filled(60), Incoming(1, Standing())
    sent: list[Batch] = []
    while sum(len(batch.parcels) for batch in sent) < RETAINED_BYTES - SHARE:
        sent += taken(outgoing)
        outgoing.hear(Had("b", 1, sent[-1].serial))
    got, rounds = [], 0
    outgoing.hear(Again("b", 1, 1))
    while not outgoing.is_done:
        rounds += 1
        batches = taken(outgoing)
        assert sum(len(batch.parcels) for batch in batches) <= SHARE * 1.3
        got += [batch.serial for batch in batches]
        for batch in batches:
            incoming.take(batch)
        outgoing.hear(Had("b", 1, incoming.expected - 1))
    assert got == list(range(1, len(got) + 1))
    assert numbers(sent) == list(range(len(numbers(sent))))
    assert rounds > 1


def test_what_is_there_does_not_go_again() -> None:
    """Where an old request is followed by word of how far the other node has come, it goes on from there."""
    outgoing = Outgoing("a", 1, Standing())
    for number in range(5):
        sent(outgoing, number)
    outgoing.hear(Again("b", 1, 2))
    outgoing.hear(Had("b", 1, 4))
    assert [batch.serial for batch in taken(outgoing)] == [5]
    outgoing.hear(Had("b", 1, 9))
    assert outgoing.is_done


def test_asked_is_seldom() -> None:
    """Of many that come early few are reasons to ask; none of those that come while the gap is filled."""
    outgoing, incoming = Outgoing("a", 1, Standing()), Incoming(1, Standing())
    batches = [sent(outgoing, number) for number in range(20)]
    asked = []
    for batch in batches[4:] + batches[:3]:
        incoming.take(batch)
        if incoming.is_to_ask(batch):
            asked.append(batch.serial)
    assert asked == [5, 6, 8, 12, 20]
    assert incoming.has_gap


@given(st.data())
def test_any_losses(data: st.DataObject) -> None:
    """Whatever is lost of what two nodes tell each other, all arrives in the end, once and in order."""
    outgoing, incoming = Outgoing("a", 1, Standing(nodes=1024)), Incoming(1, Standing())
    total = data.draw(st.integers(1, 60))
    for number in range(total):
        outgoing.put([number, "x" * 512], 512)
    losses, got = iter(data.draw(st.lists(st.booleans(), max_size=60))), list[int]()
    for _ in range(100):
        for batch in taken(outgoing):
            if not next(losses, False):
                got += [number for number, _ in came(incoming, batch)]
                if batch.asks and not next(losses, False):
                    outgoing.hear(Had("b", 1, incoming.expected - 1))
        outgoing.hear(Again("b", 1, incoming.expected))
    assert got == list(range(total))
