"""Outboxes: what is on its way to one socket, joined into one write per turn of the event loop.

A write to the kernel costs more than routing a message. So an event is only put down here, and a single callback, run
once all input of the turn is handled, writes out every outbox that has something: one write a socket and turn.
"""

from collections.abc import Callable

from app.wire.transport import Transport
from stores.base import User

LIGHT_BYTES = 65_536


class Flusher:
    """All outboxes with something to say, written out together; and the bytes that the heavy ones of them hold."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object], total_bytes: int) -> None:
        self._call_soon = call_soon
        self._total_bytes = total_bytes
        self._ready: list[Outbox] = []
        self._heavy: dict[Outbox, int] = {}
        self.held = 0

    def schedule(self, outbox: "Outbox") -> None:
        """Write this outbox out at the end of the turn."""
        if not self._ready:
            self._call_soon(self.flush)
        self._ready.append(outbox)

    def flush(self) -> None:
        """Write out every outbox that has something."""
        ready, self._ready = self._ready, []
        for outbox in ready:
            outbox.flush()

    def weigh(self, outbox: "Outbox", size: int) -> None:
        """Note what an outbox holds, in bytes; where all together hold too much, the heaviest overflows."""
        self.held += size - self._heavy.pop(outbox, 0)
        if size:
            self._heavy[outbox] = size
        while self.held > self._total_bytes:
            max(self._heavy, key=self._heavy.__getitem__).overflow()


class Outbox:
    """What waits for one socket: events in order, and of presence updates the latest of each peer.

    While the receiver keeps up, all of it goes out with the turn. While it does not, events wait; once they and what
    the transport holds outgrow `limit` bytes, all is let go and `on_overflow` is called, once.
    """

    __slots__ = (
        "_events",
        "_flusher",
        "_light",
        "_limit",
        "_on_overflow",
        "_size",
        "_transport",
        "_updates",
        "is_congested",
        "is_open",
    )

    def __init__(self, transport: Transport, flusher: Flusher, limit: int, on_overflow: Callable[[], None]) -> None:
        self._transport = transport
        self._flusher = flusher
        self._limit = limit
        self._on_overflow = on_overflow
        self._events: list[bytes] = []
        self._updates: dict[User, int] | None = None
        self._size = 0
        self._light = LIGHT_BYTES
        self.is_open = True
        self.is_congested = False

    def put(self, payload: bytes) -> None:
        """Send an event after all that was put before."""
        events = self._events
        if not events:
            if not self.is_open:
                return
            self._flusher.schedule(self)
        events.append(payload)
        self._size += len(payload)
        if self._size > self._light:
            self._weigh()
        if self._updates:
            self._updates.clear()  # a later update must not overtake this event

    def put_presence(self, peer: User, payload: bytes) -> None:
        """Send a presence update; while the receiver does not keep up, a later one of the same peer takes its place."""
        if not self.is_congested:
            self.put(payload)
            return
        updates, self._updates = self._updates or {}, None
        place = updates.get(peer)
        if place is None:
            updates[peer] = len(self._events)
            self.put(payload)
        else:
            self._size += len(payload) - len(self._events[place])
            self._events[place] = payload
        if self.is_open:
            self._updates = updates

    def flush(self) -> None:
        """Write out what there is, unless the transport is still at what it got before."""
        events = self._events
        if self.is_congested or not events:
            return
        self._events, self._size = [], 0
        try:
            self._transport.write(events)
        except (OSError, RuntimeError):  # it broke, as it will say itself; whoever writes here is not to blame
            self.discard()

    def congest(self) -> None:
        """Hold everything back: the receiver does not keep up. From now on every byte is counted."""
        self.is_congested = True
        self._light = 0
        self._weigh()

    def relieve(self) -> None:
        """Write on: the receiver has caught up."""
        self.is_congested = False
        self._light = LIGHT_BYTES
        self._updates = None
        self._flusher.weigh(self, 0)
        self.flush()

    def grant(self, size: int) -> None:
        """Raise the limit by what was kept for the user, which is delivered at once and no fault of its socket."""
        self._limit += size

    def close(self) -> None:
        """Write out what there is, even if the receiver does not keep up, and take nothing more."""
        self.is_congested = False
        self.flush()
        self._release()

    def discard(self) -> None:
        """Let go of everything and take nothing more: there is nobody to write to."""
        self._release()

    def overflow(self) -> None:
        """Let go of everything, and say so."""
        self._release()
        self._on_overflow()

    def _release(self) -> None:
        self.is_open = False
        self._events, self._updates, self._size = [], None, 0
        self._flusher.weigh(self, 0)

    def _weigh(self) -> None:
        """Count what is held; if the receiver kept up so far, write first, without waiting for the turn's end."""
        if not self.is_congested:
            self.flush()
            return
        size = self._size + self._transport.backlog()
        if size > self._limit:
            self.overflow()
        else:
            self._flusher.weigh(self, size)
