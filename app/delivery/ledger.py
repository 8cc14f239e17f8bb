"""The ledger: what a home writes in the store, for the next home of its users to go on with."""

from collections.abc import Callable

from msgspec import Struct

from app.delivery.mail import Mailbox
from app.delivery.outbox import Outbox
from app.delivery.parcels import Arrival
from app.delivery.relay import Relay
from handlers.ports import Receipt
from stores.base import User
from stores.bus import Box, Bus, Mark


class Entry(Struct, frozen=True, gc=False):
    """An event that is written down: its payload, its number and what goes with it. Told what came of it by a call."""

    ledger: "Ledger"
    box: Mailbox
    payload: bytes
    offset: int
    receipt: Receipt | None
    mark: Mark | None

    def __call__(self, is_ours: bool) -> None:  # noqa: FBT001 - as `Bus.keep` calls it
        """Take note that it is written, or that this node was not allowed to any more."""
        if is_ours:
            self.box.written = self.offset
        self.ledger.written(self, is_refused=not is_ours)
        if self.receipt is not None:
            self.receipt.settle()


class Ledger:
    """Writes for the users whose home this node is; what is refused, since it is no more, goes on to their next."""

    def __init__(self, bus: Bus, relay: Relay) -> None:
        self._bus = bus
        self._relay = relay

    async def load(self, user: User) -> Box:
        """Return what is written for a user."""
        return await self._bus.load(user)

    def forget(self, user: User) -> None:
        """Drop what is written for a user."""
        self._bus.forget(user)

    def open(self, box: Mailbox, *, is_new: bool = False) -> None:
        """Write with which tokens the user can resume; `is_new` drops what was written."""
        if box.is_numbered:
            self._bus.open(box.user, box.tokens, is_new=is_new)

    def rewrite(self, box: Mailbox) -> None:
        """Write all of a mailbox anew."""
        self._bus.open(box.user, box.tokens, is_new=True)
        last = box.last if box.is_numbered else len(box.frames)
        for number, frame in enumerate(box.frames, last - len(box.frames) + 1):
            self._bus.keep(box.user, frame, last - len(box.frames) + 1, number, seen=box.seen)
        box.written = last

    def write(
        self,
        box: Mailbox,
        payload: bytes,
        frame: bytes,
        *,
        receipt: Receipt | None = None,
        mark: Mark | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        """Write the latest event of a numbered mailbox, `payload` without its number and `frame` with it.

        It is on its way to the store before it leaves the outbox: then the client has nothing that the next home
        does not know of.
        """
        if receipt is not None:
            receipt.hold()
        offset, bus = box.last, self._bus
        kept = Entry(self, box, payload, offset, receipt, mark)
        bus.keep(box.user, frame, box.first, offset, seen=box.seen, mark=mark, kept=kept)
        if outbox is not None and bus.when_sent(outbox.release):
            outbox.hold()

    def written(self, entry: Entry, *, is_refused: bool) -> None:
        """Take note of what became of an entry; one that was refused goes to its user's next home."""
        user, relay = entry.box.user, self._relay
        if not is_refused or relay.elsewhere(user) is None:
            if relay.held:
                relay.written(user, None)
            return
        again = None
        if isinstance(entry.receipt, Arrival):
            entry.receipt.is_moved, entry.receipt.offset = True, entry.offset
        else:
            again = relay.message(user, entry.payload, receipt=entry.receipt, mark=entry.mark, offset=entry.offset)
        relay.written(user, again)
