"""What goes from node to node, over channels that lose, repeat and disorder."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stores.bus import Standing
from stores.redis import bus
from stores.redis.bus import Again, Batch, Incoming, Outgoing

decode = msgspec.msgpack.Decoder(Batch).decode


def sent(outgoing: Outgoing, *parcels: bytes) -> Batch:
    """Return what goes out of these."""
    for parcel in parcels:
        outgoing.put(parcel)
    return decode(outgoing.take())


@given(st.data())
def test_once_and_in_order(data: st.DataObject) -> None:
    """Whatever the channel does, what is asked for again comes once, in order."""
    outgoing, incoming = Outgoing("a", 1, Standing()), Incoming(1, Standing())
    batches = [sent(outgoing, b"%d" % n) for n in range(data.draw(st.integers(1, 12)))]
    got: list[bytes] = []
    for batch in data.draw(st.lists(st.sampled_from(batches), max_size=30)):
        got += incoming.take(batch)
    for again in outgoing.again(Again("b", 1, incoming.expected)):
        got += incoming.take(decode(again))
    assert got == [b"%d" % n for n in range(len(batches))]
    assert not incoming.has_gap


def test_what_is_not_retained_is_lost() -> None:
    """Who was away for too long goes on with the oldest that there is, and counts what it missed."""
    standing = Standing()
    outgoing, incoming = Outgoing("a", 1, Standing()), Incoming(1, standing)
    batches = [sent(outgoing, b"x") for _ in range(bus.RETAINED_BATCHES + 5)]
    assert incoming.take(batches[-1]) == []
    assert incoming.has_gap
    assert (standing.lost, incoming.expected) == (5, 6)


def test_another_stream() -> None:
    """What belonged to a stream that is over is not sent again."""
    outgoing = Outgoing("a", 2, Standing())
    sent(outgoing, b"x")
    assert outgoing.again(Again("b", 1, 1)) == []


def test_waiting_is_bounded() -> None:
    """While the store is away the oldest give way."""
    standing = Standing()
    outgoing = Outgoing("a", 1, standing)
    big = bytes(bus.WAITING_BYTES // 4)
    for _ in range(10):
        outgoing.put(big)
    assert (len(outgoing.waiting), standing.dropped) == (4, 6)
