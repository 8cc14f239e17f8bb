"""Other nodes: what is forwarded to a user whose home is one of them, and what follows when homes change.

A user's home is the node that its latest socket is on, or was. It numbers and keeps what comes for the user; everybody
else forwards. What it keeps for one who can resume is written in the store as well, behind a fence that moves with the
home, so that the next home goes on from what is there and nothing else is added to it.
"""

from collections.abc import Awaitable, Callable, Collection
from itertools import count
from typing import Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from app.delivery.mail import Mailbox
from handlers.ports import Receipt
from schemas.capabilities import Spoken
from stores.base import Directory, Peer, Revocation, User
from stores.bus import Bus, Home, Watcher

LONGEST_WAIT = 10_000
MARKS = 1000


class Message(Struct, array_like=True, tag=1, frozen=True):
    """An encoded event for a user, as `Delivery.send` has it; `receipt` is 0 if nobody waits for one.

    One that the user may have got already, from a node that is its home no more, has the `offset` that it had there, or
    `is_again` if that node is gone and did not say.
    """

    user: User
    frame: bytes
    about: User | None
    names: tuple[User, ...]
    receipt: int = 0
    offset: int = 0
    mark: str = ""
    is_again: bool = False


class Confirmation(Struct, array_like=True, tag=2, frozen=True):
    """What became of a message."""

    receipt: int
    delivered: list[str]
    queued: list[str]


_encode = msgspec.msgpack.Encoder().encode
_parcel_of = msgspec.msgpack.Decoder(Message | Confirmation).decode


class House(Protocol):
    """What this node's hub does for others; see `app.delivery.hub.Hub`."""

    def deliver(self, message: Message, receipt: Receipt | None) -> None:
        """Hand over or keep what another node forwarded."""
        ...

    def moved(self, user: User, socket: int, *, is_claimed: bool) -> None:
        """Let go of a user whose home is another node by now; `socket` made this one its home.

        `is_claimed` says whether it has a socket there; else that node took this one for gone.
        """
        ...

    def expect(self, user: User, spoken: Spoken) -> None:
        """Keep what comes for a user whose home is this node by now."""
        ...

    def is_here(self, user: User) -> bool:
        """Whether the user is registered over a socket of this node."""
        ...

    def peer_changed(self, before: Peer | None, after: Peer | None) -> None:
        """Tell those who are to know of what another node changed."""
        ...

    def rewrite(self) -> None:
        """Write all that is kept here for users who can resume anew."""
        ...


class Marks:
    """The last `MARKS` marks at least, in two generations, so that nothing has to be looked for to make room."""

    __slots__ = ("_old", "_young")

    def __init__(self) -> None:
        self._young: set[int] = set()
        self._old: set[int] = set()

    def add(self, mark: str) -> bool:
        """Add a mark; False if it was there."""
        number = hash(mark)
        if number in self._young or number in self._old:
            return False
        if len(self._young) == MARKS:
            self._old, self._young = self._young, set()
        self._young.add(number)
        return True


class Waiting(Struct):
    """A message whose receipt has not come."""

    message: Message
    node: str
    receipt: Receipt


class Nodes(Watcher):
    """See the module. `adopt`, `reassert` and `enforce` are what follows, to be run in tasks by `spawn`."""

    def __init__(self, bus: Bus, directory: Directory, spawn: Callable[[Awaitable[None]], None]) -> None:
        self.bus = bus
        self._directory = directory
        self._spawn = spawn
        self._numbers = count(1)
        self._waiting: dict[int, Waiting] = {}
        self._adopting: set[User] = set()
        self._gone: set[str] = set()
        self._seen: dict[User, Marks] = {}
        self._strays: dict[User, list[tuple[Message, Receipt | None]]] = {}
        self.house: House
        self.adopt: Callable[[User, Home], Awaitable[None]]
        self.reassert: Callable[[User, Home], Awaitable[None]]
        self.enforce: Callable[[Revocation], Awaitable[None]]
        self.forwarded = 0

    def elsewhere(self, user: User) -> str | None:
        """Return the other node that is the user's home; None if this one is, or none."""
        home = self.bus.home(user)
        return None if home is None or home.node == self.bus.node else home.node

    def spoken(self, user: User) -> Spoken | None:
        """Return what a user speaks whose home is another node; None if none is."""
        if self.elsewhere(user) is None:
            return None
        peer = self._directory.peer(user)
        return None if peer is None else peer.spoken

    def forward(
        self,
        user: User,
        frame: bytes,
        *,
        about: User | None = None,
        names: Collection[User] = (),
        receipt: Receipt | None = None,
        offset: int = 0,
        mark: str = "",
        is_again: bool = False,
    ) -> bool:
        """Send an encoded event to the user's home; False if that is no other node."""
        node = self.elsewhere(user)
        if node is None:
            return False
        number = 0 if receipt is None else next(self._numbers)
        message = Message(user, frame, about, tuple(names), number, offset, mark, is_again)
        if receipt is not None:
            receipt.hold()
            self._waiting[number] = Waiting(message, node, receipt)
            if len(self._waiting) > LONGEST_WAIT:
                del self._waiting[next(iter(self._waiting))]
        self.forwarded += 1
        self.bus.post(node, _encode(message))
        return True

    def is_new(self, user: User, mark: str) -> bool:
        """Whether no message of this mark was sent to a user of this node lately; from now on one was."""
        marks = self._seen.get(user)
        if marks is None:
            marks = self._seen[user] = Marks()
        return marks.add(mark)

    def forget(self, user: User) -> None:
        """Forget what was sent to a user."""
        self._seen.pop(user, None)

    def write_down(self, box: Mailbox, payload: bytes, receipt: Receipt | None, mark: str = "") -> None:
        """Write the latest event of a mailbox; it goes on to the user's next home if this is it no more."""
        if receipt is not None:
            receipt.hold()
        kept = self.writing(box, payload, box.last, receipt, mark)
        self.bus.keep(box.user, box.frames[-1], box.first, box.last, kept)

    def writing(
        self, box: Mailbox, payload: bytes, offset: int, receipt: Receipt | None = None, mark: str = ""
    ) -> Callable[[bool], None]:
        """Return what is to be called when an event of a mailbox is written, or is not since the home is another."""
        home = self.bus.home(box.user)

        def kept(is_ours: bool) -> None:  # noqa: FBT001 - as `Bus.keep` calls it
            if is_ours:
                box.written = offset
            else:
                self._hand_on(Message(box.user, payload, None, (), offset=offset, mark=mark), receipt)
                if self.bus.home(box.user) != home:
                    self._hand_on_strays(box.user)
            if receipt is not None:
                receipt.settle()

        return kept

    def _hand_on(self, message: Message, receipt: Receipt | None) -> None:
        """Send on what was not written as the user was claimed, once it is known here by whom.

        If that is this node again, it is written anew with all else in the mailbox.
        """
        if receipt is not None:
            receipt.hold()
        self._strays.setdefault(message.user, []).append((message, receipt))

    def _hand_on_strays(self, user: User) -> None:
        """Send on what waits for it; not while the user, whose socket is here, is claimed back."""
        home = self.bus.home(user)
        if home is not None and _is_adopted(home, self.bus.node) and self.house.is_here(user):
            return
        for message, receipt in self._strays.pop(user, ()):
            self._forward(message, receipt)
            if receipt is not None:
                receipt.settle()

    def _forward(self, message: Message, receipt: Receipt | None) -> bool:
        return self.forward(message.user, message.frame, receipt=receipt, offset=message.offset, mark=message.mark)

    def arrived(self, node: str, parcel: bytes) -> None:
        """See `Watcher`."""
        message = _parcel_of(parcel)
        if isinstance(message, Confirmation):
            self._confirmed(message)
            return
        receipt = Receipt() if message.receipt else None
        self.house.deliver(message, receipt)
        if receipt is not None:
            receipt.when_whole(lambda: self._confirm(node, message.receipt, receipt))

    def peer_changed(self, before: Peer | None, after: Peer | None) -> None:
        """See `Watcher`."""
        self.house.peer_changed(before, after)

    def home_changed(self, user: User, before: Home | None, after: Home) -> None:
        """See `Watcher`. One adopted while it is here, since this node was taken for gone, is claimed back."""
        if before is not None and before.node == after.node:
            self._hand_on_strays(user)
            return
        peer = self._directory.peer(user)
        if after.node == self.bus.node and peer is not None:
            self.house.expect(user, peer.spoken)
        if before is None:
            return
        if before.node == self.bus.node:
            self._lost(user, before, after)
        elif before.node in self._gone:
            self._send_again(before.node)
        self._hand_on_strays(user)
        if after.socket:
            self._gone.discard(after.node)

    def gone(self, node: str) -> None:
        """See `Watcher`."""
        self._gone.add(node)
        self._send_again(node)

    def _lost(self, user: User, before: Home, after: Home) -> None:
        if not after.socket and self.house.is_here(user):
            self._spawn(self.reassert(user, after))
        else:
            self.house.moved(user, before.socket, is_claimed=bool(after.socket))

    def orphaned(self, user: User, home: Home) -> None:
        """See `Watcher`."""
        if user not in self._adopting:
            self._adopting.add(user)
            self._spawn(self._adopt(user, home))

    def revoked(self, revocation: Revocation) -> None:
        """See `Watcher`."""
        self._spawn(self.enforce(revocation))

    def emptied(self) -> None:
        """See `Watcher`."""
        self.house.rewrite()

    async def _adopt(self, user: User, home: Home) -> None:
        try:
            await self.adopt(user, home)
        finally:
            self._adopting.discard(user)

    def _confirm(self, node: str, number: int, receipt: Receipt) -> None:
        self.bus.post(node, _encode(Confirmation(number, receipt.delivered, receipt.queued)))

    def _confirmed(self, confirmation: Confirmation) -> None:
        waiting = self._waiting.pop(confirmation.receipt, None)
        if waiting is not None:
            waiting.receipt.delivered += confirmation.delivered
            waiting.receipt.queued += confirmation.queued
            waiting.receipt.settle()

    def _send_again(self, gone: str) -> None:
        """Send what a node that is gone did not confirm to the new homes of its users, as far as they have one."""
        for number, each in list(self._waiting.items()):
            home = self.bus.home(each.message.user)
            if each.node == gone and home is not None and home.node != gone:
                del self._waiting[number]
                self._deliver_again(each.message, each.receipt)

    def _deliver_again(self, message: Message, receipt: Receipt) -> None:
        is_sent = self.forward(
            message.user,
            message.frame,
            about=message.about,
            names=message.names,
            receipt=receipt,
            mark=message.mark,
            is_again=True,
        )
        if not is_sent:
            self.house.deliver(replace(message, is_again=True), receipt)
        receipt.settle()


def _is_adopted(home: Home, node: str) -> bool:
    return home.node != node and not home.socket
