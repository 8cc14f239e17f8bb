"""The ledger: what a home writes in the store, for the next home of its users to go on with."""

from collections import Counter

from msgspec import Struct

from app.delivery.channel import Sent
from app.delivery.mail import Mailbox
from app.delivery.outbox import Outbox
from app.delivery.parcels import Arrival
from app.delivery.relay import Relay
from app.wire.codec import without_offset
from handlers.ports import Receipt
from stores.base import User
from stores.bus import Box, Bus, Home, Mark, Place

AGAIN_SECONDS = 1.0


class Entry(Struct, eq=False, gc=False):
    """An event that is written down: its payload, its number and what goes with it. Told what came of it by a call.

    `home` is what this node was to the user as it was written, `fence` that by which its mailbox stands there. By its
    `number` it is in its order among all that this node sent; 0 is before all of these. One that was written once more
    since `is_void`. `also` are those of messages that came once more meanwhile.
    """

    ledger: "Ledger"
    home: Home | None
    fence: int
    box: Mailbox
    payload: bytes
    offset: int
    receipt: Receipt | None
    mark: Mark | None
    number: int = 0
    is_void: bool = False
    also: tuple[Receipt, ...] = ()

    def __call__(self, is_ours: bool) -> None:  # noqa: FBT001 - as `Bus.keep` calls it
        """Take note that it is written, or that the user was claimed since, or that all has to be written anew."""
        if not self.is_void:
            self.ledger.written(self, is_refused=not is_ours)

    def again(self, home: Home | None) -> "Entry":
        """Return it as it is written once more."""
        self.is_void = True
        about = self.box, self.payload, self.offset, self.receipt, self.mark, self.number
        return Entry(self.ledger, home, self.box.opened, *about, also=self.also)

    @property
    def place(self) -> Place | None:
        """The number that it has here."""
        return Place(self.fence, self.offset) if self.fence else None

    def close(self) -> None:
        """Let go of it: it is known what came of it, and whoever takes it from here."""
        if self.box.writes.get(self.offset) is self:
            del self.box.writes[self.offset]

    def settle(self) -> None:
        """Have nobody wait for it any more."""
        for receipt in (self.receipt, *self.also):
            if receipt is not None:
                receipt.settle()


class Ledger:
    """Writes for the users whose home this node is; what is refused, since it is no more, goes on to their next."""

    def __init__(self, bus: Bus, relay: Relay) -> None:
        self._bus = bus
        self._relay = relay
        self._refused: dict[User, list[Entry]] = {}
        self._contested: Counter[User] = Counter()
        self._again_at = 0.0

    async def load(self, user: User) -> Box:
        """Return what is written for a user."""
        return await self._bus.load(user)

    def forget(self, user: User) -> None:
        """Drop what is written for a user."""
        self._let_go(user)
        self._bus.forget(user)

    def open(self, box: Mailbox, *, is_new: bool = False) -> None:
        """Write with which tokens the user can resume; `is_new` drops what was written."""
        home = self._bus.home(box.user)
        if is_new:
            self._let_go(box.user)
            box.bases = {} if home is None else {home.fence: 0}
        box.go_on(0 if home is None else home.fence)
        if box.is_numbered:
            self._bus.open(box.user, box.tokens, box.bases, is_new=is_new)

    def reopen(self, box: Mailbox, kept: Box | None) -> None:
        """Write the tokens, and all that may not be in the store; `kept` is what it was loaded from there.

        Of a mailbox of this node something may have been on its way there with the fence of an older socket.
        """
        if kept is not None and box.last == kept.last:
            self.open(box)
        else:
            self.rewrite(box)

    def rewrite(self, box: Mailbox) -> None:
        """Write all of a mailbox anew; of what was not written before it is noted whether it is.

        Whoever waits for that waits on.
        """
        home = self._bus.home(box.user)
        last = box.last if box.is_numbered else len(box.frames)
        first = last - len(box.frames) + 1
        box.go_on(0 if home is None else home.fence)
        self._bus.open(box.user, box.tokens, box.bases, is_new=True, last=first - 1)
        for number, frame in enumerate(box.frames, first):
            is_new = box.is_numbered and (number > box.written or number in box.writes)
            kept = self._entry(box, frame, number, home) if is_new else None
            mark = None if kept is None else kept.mark
            self._bus.keep(box.user, frame, first, number, seen=box.seen, mark=mark, kept=kept)

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
        kept = box.writes[offset] = Entry(
            self, bus.home(box.user), box.opened, box, payload, offset, receipt, mark, self._relay.number()
        )
        if box.user in self._contested:
            self._refused.setdefault(box.user, []).append(kept)
            return
        bus.keep(box.user, frame, box.first, offset, seen=box.seen, mark=mark, kept=kept)
        if outbox is not None:
            self.precede(outbox)

    def precede(self, outbox: Outbox) -> None:
        """Have what was written by now be on its way to the store before anything leaves an outbox."""
        if self._bus.when_sent(outbox.release):
            outbox.hold()

    def written(self, entry: Entry, *, is_refused: bool) -> None:
        """Take note of what became of an entry.

        One that was refused goes to its user's next home. It may not be known here yet who that is.
        """
        user, relay = entry.box.user, self._relay
        if is_refused:
            is_unheard = self._bus.home(user) == entry.home and relay.elsewhere(user) is None and not entry.box.is_gone
            if user in self._contested or is_unheard:
                self._refused.setdefault(user, []).append(entry)
            else:
                self._pass_on(entry)
            return
        entry.close()
        box = entry.box
        box.written = max(box.written, min(entry.offset, next(iter(box.writes), box.last + 1) - 1))
        if relay.held:
            relay.written(user, [])
        entry.settle()

    def await_first(self, box: Mailbox, mark: Mark, receipt: Receipt) -> None:
        """Have the receipt of a message that came once more wait, should it not be written yet."""
        for entry in reversed(box.writes.values()):
            if isinstance(entry, Entry) and entry.mark is not None and entry.mark.key == mark.key:
                receipt.hold()
                entry.also += (receipt,)
                return

    def contest(self, user: User) -> None:
        """Have what is to be written for a user wait until it is known whether this node can claim it back."""
        self._contested[user] += 1

    def is_contested(self, user: User) -> bool:
        """Whether that is not known yet."""
        return user in self._contested

    def decide(self, user: User) -> None:
        """Take note that this is known, and that all is written anew if it could."""
        self._contested[user] -= 1
        if not self._contested[user]:
            del self._contested[user]
        self.heard(user)

    def heard(self, user: User) -> None:
        """Take note that it is known whose a user is, so that what was refused for it can go there."""
        if user in self._contested:
            return
        for entry in self._refused.pop(user, ()):
            if not entry.is_void:
                self._pass_on(entry)

    def tick(self) -> None:
        """Now and then write anew what was refused for want of what came before it, which the store has lost."""
        if self._relay.now < self._again_at:
            return
        self._again_at = self._relay.now + AGAIN_SECONDS
        for user, entries in list(self._refused.items()):
            home = self._bus.home(user)
            is_here = home is not None and home.node == self._bus.node and user not in self._contested
            if is_here and all(entry.home == home and not entry.box.is_gone for entry in entries):
                del self._refused[user]
                self.rewrite(entries[0].box)

    def _let_go(self, user: User) -> None:
        """Wait no more for what was refused to be written: its user starts over."""
        for entry in self._refused.pop(user, ()):
            if entry.is_void:
                continue
            entry.close()
            self._relay.written(user, [])
            entry.settle()

    def _entry(self, box: Mailbox, frame: bytes, number: int, home: Home | None) -> Entry:
        """Return an entry for what is written once more."""
        known = box.writes.get(number)
        if not isinstance(known, Entry):
            known = Entry(self, home, box.opened, box, without_offset(frame), number, None, None)
        kept = box.writes[number] = known.again(home)
        return kept

    def _pass_on(self, entry: Entry) -> None:
        """Send an entry to its user's new home; if that is still this node, wait until the mailbox is written anew."""
        user, relay = entry.box.user, self._relay
        home = self._bus.home(user)
        if home is not None and home.node == self._bus.node and not entry.box.is_gone:
            self._refused.setdefault(user, []).append(entry)
            return
        entry.close()
        is_elsewhere = relay.elsewhere(user) is not None or entry.box.is_gone
        relay.written(user, self._again(entry) if is_elsewhere else [])
        entry.settle()

    def _again(self, entry: Entry) -> list[Sent]:
        """Return it as this node has to send it again, unless that is for others to do."""
        user, payload, mark, place, number = entry.box.user, entry.payload, entry.mark, entry.place, entry.number
        again: list[Sent] = []
        for receipt in (entry.receipt, *entry.also):
            if isinstance(receipt, Arrival):
                self._relay.refuse(user, receipt, place)
            else:
                again.append(self._relay.message(user, payload, receipt=receipt, mark=mark, place=place, number=number))
        return again
