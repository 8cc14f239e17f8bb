"""What goes from node to node, over channels that lose, repeat and disorder."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stores.bus import Standing
from stores.redis import streams
from stores.redis.streams import Again, Batch, Incoming, Outgoing

decode = msgspec.msgpack.Decoder(Batch).decode


def sent(outgoing: Outgoing, *parcels: object) -> Batch:
    """Return what goes out of these."""
    for parcel in parcels:
        outgoing.put(parcel, 1)
    return decode(outgoing.take())


def came(incoming: Incoming, batch: Batch) -> list[object]:
    """Return what comes in by a batch."""
    return [parcel for parcels in incoming.take(batch) for parcel in msgspec.msgpack.decode(parcels)]


@given(st.data())
def test_once_and_in_order(data: st.DataObject) -> None:
    """Whatever the channel does, what is asked for again comes once, in order."""
    outgoing, incoming = Outgoing("a", 1, Standing()), Incoming(1, Standing())
    batches = [sent(outgoing, n) for n in range(data.draw(st.integers(1, 12)))]
    got: list[object] = []
    for batch in data.draw(st.lists(st.sampled_from(batches), max_size=30)):
        got += came(incoming, batch)
    for again in outgoing.again(Again("b", 1, incoming.expected)):
        got += came(incoming, decode(again))
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
    assert outgoing.again(Again("b", 1, 1)) == []


def test_waiting_is_bounded() -> None:
    """While the store is away the oldest give way."""
    standing = Standing()
    outgoing = Outgoing("a", 1, standing)
    for _ in range(10):
        outgoing.put("x", streams.WAITING_BYTES // 4)
    assert (outgoing.waiting, standing.dropped) == (4, 6)
