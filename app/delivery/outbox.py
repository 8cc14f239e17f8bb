"""Outboxes: what is on its way to one socket, joined into one write per turn of the event loop.

A write to the kernel costs more than routing a message. So an event is only put down here, and a single callback, run
once all input of the turn is handled, writes out every outbox that has something: one write a socket and turn.
"""

from collections.abc import Callable

from app.wire.transport import Transport
from stores.model import User

LIGHT_BYTES = 65_536
SLICE_BYTES = 262_144
PATIENCE_SECONDS = 0.004


class WriteScheduler:
    """All outboxes with something to say, written out together; and the bytes that the heavy ones of them hold."""

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], object],
        call_later: Callable[[float, Callable[[], None]], object],
        total_bytes: int,
    ) -> None:
        self._call_soon = call_soon
        self._call_later = call_later
        self._total_bytes = total_bytes
        self._ready: list[Outbox] = []
        self._coalesced: set[Outbox] = set()
        self._heavy: dict[Outbox, int] = {}
        self.held = 0
        self.dropped = 0

    def schedule(self, outbox: "Outbox") -> None:
        """Write this outbox out at the end of the turn."""
        if not self._ready:
            self._call_soon(self.flush)
        self._ready.append(outbox)

    def schedule_coalesced(self, outbox: "Outbox") -> None:
        """Write this outbox out with the turn, but if it was so lately, only when `PATIENCE_SECONDS` are over."""
        if outbox in self._coalesced:
            return
        if not self._coalesced:
            self._call_later(PATIENCE_SECONDS, self._flush_coalesced)
        self._coalesced.add(outbox)
        outbox.schedule()

    def flush(self) -> None:
        """Write out every outbox that has something."""
        ready, self._ready = self._ready, []
        for outbox in ready:
            outbox.flush()

    def _flush_coalesced(self) -> None:
        """Write out those to which something came since they were last written out, and have them wait again."""
        self._coalesced = {outbox for outbox in self._coalesced if outbox.is_waiting}
        if self._coalesced:
            self._call_later(PATIENCE_SECONDS, self._flush_coalesced)
        for outbox in list(self._coalesced):
            outbox.flush()

    def weigh(self, outbox: "Outbox", size: int) -> None:
        """Note what an outbox holds, in bytes; where all together hold too much, the heaviest overflows."""
        self.held += size - self._heavy.pop(outbox, 0)
        if size:
            self._heavy[outbox] = size
        while self.held > self._total_bytes:
            max(self._heavy, key=self._heavy.__getitem__).overflow()


class Outbox:
    """What waits for one socket, in order.

    While the receiver keeps up, all of it goes out with the turn. While it does not, events wait. Once they and what
    the transport holds outgrow half of `limit` bytes, `on_slow` is called. Once they outgrow the limit, of the presence
    updates only the latest of each peer is kept, and if that is not enough, all is let go and `on_overflow` is called.
    """

    __slots__ = (
        "_events",
        "_holds",
        "_is_due",
        "_is_slow",
        "_light",
        "_limit",
        "_on_overflow",
        "_on_slow",
        "_run",
        "_size",
        "_transport",
        "_updates",
        "_write_scheduler",
        "is_congested",
        "is_open",
    )

    def __init__(
        self,
        transport: Transport,
        write_scheduler: WriteScheduler,
        limit: int,
        on_overflow: Callable[[], None],
        on_slow: Callable[[], None] | None = None,
    ) -> None:
        self._transport = transport
        self._write_scheduler = write_scheduler
        self._limit = limit
        self._on_overflow = on_overflow
        self._on_slow = on_slow or _say_nothing
        self._events: list[bytes] = []
        self._updates: dict[int, User] | None = None
        self._run: dict[User, int] | None = None
        self._size = 0
        self._light = LIGHT_BYTES
        self._holds = 0
        self._is_due = False
        self._is_slow = False
        self.is_open = True
        self.is_congested = False

    def hold(self) -> None:
        """Hold everything back until it is released, once more each time."""
        self._holds += 1

    def release(self) -> None:
        """Write out what was held back, unless it still is."""
        self._holds -= 1
        if not self._holds and self._is_due:
            self.flush()

    def put(self, payload: bytes) -> None:
        """Send an event after all that was put before."""
        if not self._is_due:
            if not self.is_open:
                return
            self._is_due = True
            self._write_scheduler.schedule(self)
        self._events.append(payload)
        self._size += len(payload)
        if self._run:
            self._run.clear()  # a later update must not overtake this event
        if self._size > self._light:
            self._weigh()

    def put_coalesced(self, payload: bytes) -> None:
        """Send an event after all that was put before; many such within a few milliseconds go out with one write."""
        if self._is_due or self._run or self._size + len(payload) > self._light:
            self.put(payload)
        elif self.is_open:
            self._events.append(payload)
            self._size += len(payload)
            self._write_scheduler.schedule_coalesced(self)

    def schedule(self) -> None:
        """Write it out at the end of the turn."""
        if not self._is_due:
            self._is_due = True
            self._write_scheduler.schedule(self)

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to write that nothing but time keeps back."""
        return bool(self._events) and not self._is_due

    def put_first(self, payload: bytes) -> None:
        """Send an event before all that waits; it must have no order to keep."""
        if not self._events:
            self.put(payload)
            return
        self._events.insert(0, payload)
        self._size += len(payload)
        self._run = None
        if self._updates:
            self._updates = {place + 1: peer for place, peer in self._updates.items()}

    def put_presence(self, peer: User, payload: bytes) -> None:
        """Send a presence update; of several that wait without an event between, only the latest of a peer goes out."""
        if not self.is_congested:
            self.put(payload)
            return
        run, self._run = self._run or {}, None
        place = run.get(peer)
        if place is None:
            self._append_update(peer, payload, run)
        else:
            self._size += len(payload) - len(self._events[place])
            self._events[place] = payload
            self._run = run

    def flush(self) -> None:
        """Write out what there is, unless the transport is still at what it got before."""
        if self.is_congested or self._holds:
            return
        self._is_due = False
        events = self._events
        if not events:
            return
        if self._size > SLICE_BYTES:
            self._flush_in_slices()
            return
        self._events, self._size = [], 0
        try:  # as `_write` has it, which would be one call more for every write
            self._transport.write(events)
        except (OSError, RuntimeError):
            self.discard()

    def congest(self) -> None:
        """Hold everything back: the receiver does not keep up. From now on every byte is counted."""
        self.is_congested = True
        self._light = 0
        self._weigh()

    def relieve(self) -> None:
        """Write on: the receiver has caught up."""
        self.is_congested = self._is_slow = False
        self._light = LIGHT_BYTES
        self._updates = self._run = None
        self._write_scheduler.weigh(self, 0)
        self.flush()

    def grant(self, size: int) -> None:
        """Raise the limit by what was kept for the user, which is delivered at once and no fault of its socket."""
        self._limit += size

    def close(self) -> None:
        """Write out what there is, even if the receiver does not keep up, and take nothing more."""
        if self._events:
            self._write(self._events)
        self._release()

    def discard(self) -> None:
        """Let go of everything and take nothing more: there is nobody to write to."""
        self._write_scheduler.dropped += len(self._events)
        self._release()

    def overflow(self) -> None:
        """Let go of everything, and say so."""
        self._write_scheduler.dropped += len(self._events)
        on_overflow = self._on_overflow
        self._release()
        on_overflow()

    def _append_update(self, peer: User, payload: bytes, run: dict[User, int]) -> None:
        if self._updates is None:
            self._updates = {}
        updates, place = self._updates, len(self._events)
        updates[place], run[peer] = peer, place
        self.put(payload)
        if self._updates is updates:  # else the places have changed
            self._run = run

    def _write(self, events: list[bytes]) -> None:
        try:
            self._transport.write(events)
        except (OSError, RuntimeError):  # it broke, as it will say itself; whoever writes here is not to blame
            self.discard()

    def _flush_in_slices(self) -> None:
        """Write piece by piece, so that what the transport cannot pass on stays here, where it can be shed."""
        while self._events and not self.is_congested:
            count = size = 0
            while count < len(self._events) and size < SLICE_BYTES:
                size += len(self._events[count])
                count += 1
            piece = self._events[:count]
            del self._events[:count]
            self._size -= size
            self._write(piece)

    def _release(self) -> None:
        self.is_open = self.is_congested = False
        self._events, self._updates, self._run, self._size, self._is_due = [], None, None, 0, False
        self._on_overflow = self._on_slow = _say_nothing  # else whom they tell would live on in a reference cycle
        self._write_scheduler.weigh(self, 0)

    def _weigh(self) -> None:
        """Count what is held; if the receiver kept up so far, write first, without waiting for the turn's end."""
        if not self.is_congested:
            self.flush()
            return
        if self._size + self._transport.backlog() > self._limit:
            self._shed_updates()
        size = self._size + self._transport.backlog()
        if size > self._limit:
            self.overflow()
            return
        self._write_scheduler.weigh(self, size)
        if size > self._limit / 2 and not self._is_slow and self.is_open:
            self._is_slow = True
            self._on_slow()

    def _shed_updates(self) -> None:
        """Drop the presence updates that a later one of the same peer follows."""
        updates = self._updates or {}
        latest = {peer: place for place, peer in updates.items()}
        outdated = {place for place, peer in updates.items() if latest[peer] != place}
        kept = [(place, event) for place, event in enumerate(self._events) if place not in outdated]
        self._events = [event for _, event in kept]
        self._updates = {new: updates[old] for new, (old, _) in enumerate(kept) if old in updates}
        self._run = None
        self._size = sum(map(len, self._events))


def _say_nothing() -> None:
    """Tell nobody."""
