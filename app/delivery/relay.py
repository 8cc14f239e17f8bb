"""The relay: events for users whose home is another node, each sent until its home has confirmed it, and in order.

A user's home may move while something is on the way. Then what follows is held until it is known what became of that:
the old home confirms it or says that it came too late, or does not answer in time. What did not arrive goes to the new
home, and after it what was held. The new home knows by their numbers which of these the old one had taken.
"""

from collections.abc import Callable, Collection
from itertools import count

from msgspec import Struct
from msgspec.structs import replace

from app.delivery.channel import Channel, Sent
from app.delivery.parcels import Arrival, Confirmation, Message, Turn
from handlers.ports import Receipt
from stores.base import User
from stores.bus import Bus, Mark, Place

HOLD_SECONDS = 1.0
AGAIN_SECONDS = 5.0
PARCEL_BYTES = 200
REFUSED = 1000
CONTEST = ""  # the name of no node


class Held(Struct, eq=False):
    """What waits since a user's home moved, until it is known what became of all that is `open`.

    That is how many messages each node has, and by `CONTEST` how often the home is contested. `again` are those that
    have to go again, `later` came after them.
    """

    open: dict[str, int]
    since: float
    again: list[Sent]
    later: list[Sent]


class Relay:
    """See the module. `deliver` takes what is for a user whose home is this node."""

    def __init__(self, bus: Bus, monotonic: Callable[[], float]) -> None:
        self.bus = bus
        self.node = bus.node
        self.deliver: Callable[[str, Message, Receipt | None], None]
        self._early: dict[User, list[tuple[str, Message, Receipt | None]]] = {}
        self._monotonic = monotonic
        self._now = monotonic()
        self._numbers = count(1)
        self._channels: dict[str, Channel] = {}
        self._gone: set[str] = set()
        self._refused: dict[tuple[str, User], int] = {}
        self._most_refused = REFUSED
        self.held: dict[User, Held] = {}
        self.forwarded = 0
        self.repeated = 0

    @property
    def waiting(self) -> int:
        """How many messages are not confirmed, or held."""
        held = sum(len(each.again) + len(each.later) for each in self.held.values())
        return held + sum(len(channel.open) for channel in self._channels.values())

    @property
    def now(self) -> float:
        """When it was last told that time passes."""
        return self._now

    def elsewhere(self, user: User) -> str | None:
        """Return the other node that is the user's home; None if this one is, or none."""
        home = self.bus.home(user)
        return None if home is None or home.node == self.node else home.node

    def send(self, sent: Sent) -> None:
        """Send a message to its user's home, after all that was sent before; if that is here, it is delivered."""
        held = self.held.get(sent.message.user)
        if held is None:
            self.dispatch(sent)
        else:
            held.later.append(sent)

    def message(
        self,
        user: User,
        frame: bytes,
        *,
        about: User | None = None,
        names: Collection[User] = (),
        receipt: Receipt | None = None,
        mark: Mark | None = None,
        place: Place | None = None,
        number: int | None = None,
    ) -> Sent:
        """Return an event as one to be sent, by default the latest; its receipt waits for what becomes of it."""
        if receipt is not None:
            receipt.hold()
        if number is None:
            number = self.number()
        return Sent(Message(user, frame, about, tuple(names), number, mark, place), receipt)

    def number(self) -> int:
        """Return the number of what this node sends next, also to who is here, and may have to be sent elsewhere."""
        return next(self._numbers)

    def dispatch(self, sent: Sent) -> None:
        """Send a message to wherever its user's home is; to nobody if there is none."""
        node = self.elsewhere(sent.message.user)
        if node is not None:
            self._post(node, sent)
            return
        self.deliver(self.node, sent.message, sent.receipt)
        if sent.receipt is not None:
            sent.receipt.settle()

    def defer(self, node: str, message: Message, receipt: Receipt | None) -> None:
        """Have a message of some node wait, until it is known here how far its user has come."""
        if receipt is not None:
            receipt.hold()
        self._early.setdefault(message.user, []).append((node, message, receipt))

    def catch_up(self, user: User) -> None:
        """Deliver what waited for that; if the user's home is elsewhere by now, it is for that one."""
        is_elsewhere = self.elsewhere(user) is not None
        for node, message, receipt in self._early.pop(user, ()):
            if not is_elsewhere:
                self.deliver(node, message, receipt)  # which may defer it anew
            elif node == self.node:
                self.dispatch(Sent(message, receipt))
                continue
            elif isinstance(receipt, Arrival):
                self.refuse(user, receipt)
            if receipt is not None:
                receipt.settle()

    def refuse(self, user: User, arrival: Arrival, place: Place | None = None) -> None:
        """Have another node send a message to where its user's home is by now; `place` is the number it had here."""
        arrival.is_moved, arrival.place = True, place
        self._refused[arrival.node, user] = arrival.turn
        if len(self._refused) > self._most_refused:  # of what that node knows it need not be reminded
            node, heard = arrival.node, arrival.heard
            self._refused = {of: turn for of, turn in self._refused.items() if of[0] != node or turn > heard}
            self._most_refused = max(REFUSED, 2 * len(self._refused))

    def is_early(self, user: User, receipt: Receipt | None) -> bool:
        """Whether what another node sent follows what was refused, and is to come again after that."""
        if not self._refused or not isinstance(receipt, Arrival):
            return False
        last = self._refused.get((receipt.node, user), 0)
        if last and last <= receipt.heard:
            del self._refused[receipt.node, user]
        return receipt.heard < last

    def awaits_writes(self, user: User) -> bool:
        """Whether it is not known yet what became of what this node wrote for a user, when it was its home before."""
        held = self.held.get(user)
        return held is not None and self.node in held.open

    def confirmed(self, node: str, confirmation: Confirmation) -> None:
        """Take note of what became of messages to a node; what it missed goes again."""
        channel = self._channels.get(node)
        if channel is None:
            return
        queued, lost, moved = frozenset(confirmation.queued), frozenset(confirmation.lost), confirmation.moved
        waiting = channel.open
        channel.heard, channel.since = max(channel.heard, confirmation.last), self._now
        while waiting and waiting[0].turn <= confirmation.last:
            sent = channel.pop()
            if sent.is_taken:
                continue
            is_missing = sent.turn < confirmation.first or sent.turn in moved
            if not is_missing and sent.receipt is not None:
                _note(sent, sent.receipt, confirmation, queued, lost)
            if is_missing:
                self._found(
                    node,
                    sent.message.user,
                    sent.anew(moved.get(sent.turn), is_doubtful=sent.turn < confirmation.first),
                )
            elif self.held:
                self._found(node, sent.message.user)

    def written(self, user: User, refused: Collection[Sent]) -> None:
        """Take note that one of this node's own writes for a user is done; what was refused goes to the new home."""
        held = self.held.get(user)
        if held is None:
            for sent in refused:
                self._dispatch_anew(sent)
            return
        held.again += refused
        self._found(self.node, user)

    def moved(self, user: User, open_writes: int = 0) -> None:
        """Hold what comes for a user whose home was another, until it is known what the homes that it had have."""
        held = self.held.get(user)
        if held is not None:
            if open_writes:
                held.open[self.node] = held.open.get(self.node, 0) + open_writes
            return
        self._hold(user, self.node, open_writes)
        for node in self._gone.intersection(self.held[user].open if user in self.held else ()):
            self._missed(user, node)

    def contest(self, user: User) -> None:
        """Hold what comes for a user, who is here, until it is known whether this node can claim it back."""
        held = self.held.get(user)
        if held is None:
            held = self.held[user] = Held({}, self._now, [], [])
        held.open[CONTEST] = held.open.get(CONTEST, 0) + 1

    def decided(self, user: User) -> None:
        """Take note that this is known."""
        self._found(CONTEST, user)

    def gone(self, node: str) -> None:
        """Wait no more for a node that is gone."""
        self._refused = {of: turn for of, turn in self._refused.items() if of[0] not in self._gone}
        self._gone.add(node)  # it may come back: what was refused is forgotten as the next one goes
        for user in [user for user, held in self.held.items() if node in held.open]:
            self._missed(user, node)

    def back(self, node: str) -> None:
        """Take note that a node is there."""
        self._gone.discard(node)

    def tick(self) -> None:
        """Wait no more for what took too long."""
        self._now = self._monotonic()
        if self.bus.is_away:
            self._wait_on()
        for user in [user for user, held in self.held.items() if self._now - held.since > HOLD_SECONDS]:
            self._release(user)
        for channel in list(self._channels.values()):
            if channel.open and self._now - channel.since >= AGAIN_SECONDS:
                self._repeat(channel)

    def _wait_on(self) -> None:
        """Have nothing be overdue because the store is away: no node can confirm anything, nor this one write."""
        for channel in self._channels.values():
            channel.since = self._now
        for held in self.held.values():
            if self.node in held.open or CONTEST in held.open:
                held.since = self._now

    def _repeat(self, channel: Channel) -> None:
        """Send all of which a node has confirmed nothing for long to wherever its users' homes are."""
        channel.since = self._now
        for sent in channel.take_all():
            self.repeated += 1
            sent.is_doubtful = True
            self.dispatch(sent)

    def _post(self, node: str, sent: Sent) -> None:
        channel = self._channels.get(node)
        if channel is None:
            channel = self._channels[node] = Channel()
        if not channel.open:
            channel.since = self._now
        channel.add(sent)
        while channel.is_full:
            self._lose(channel.pop())
        self.forwarded += 1
        self.bus.post(node, Turn(sent.turn, sent.message, channel.heard), len(sent.message.frame) + PARCEL_BYTES)

    def _lose(self, sent: Sent) -> None:
        """Give up a message, of which it is not known whether it arrived."""
        if sent.is_taken or sent.receipt is None:
            return
        sent.receipt.withdraw(sent.message.user.id)
        sent.receipt.settle()

    def _found(self, node: str, user: User, missing: Sent | None = None) -> None:
        """Note that it is known what became of one more message; once it is of all, what waits for that goes."""
        if user not in self.held and missing is not None:
            self._hold(user, node, 1)
        held = self.held.get(user)
        if held is None:
            return
        if missing is not None:
            held.again.append(missing)
        if node in held.open:
            held.open[node] -= 1
            if not held.open[node]:
                self._missed(user, node)

    def _hold(self, user: User, node: str, more: int) -> None:
        """Hold what comes for a user while anything is open, of which a node has so many `more`."""
        counts = {name: channel.count(user) for name, channel in self._channels.items()}
        counts[node] = counts.get(node, 0) + more
        nodes = {name: number for name, number in counts.items() if number}
        if nodes:
            self.held[user] = Held(nodes, self._now, [], [])

    def _missed(self, user: User, node: str) -> None:
        """Wait no more for what a node has; once there is nothing else to wait for, what waits goes."""
        held = self.held[user]
        del held.open[node]
        if node in self._channels:
            held.again += self._channels[node].take(user)
        if not held.open:
            self._release(user)
        elif node == self.node:
            self.catch_up(user)

    def _release(self, user: User) -> None:
        """Send what did not arrive, then what was held.

        A home takes nothing with a lower number than it had: only what it might have had already keeps its own, unless
        it would know it by a mark.
        """
        held = self.held.pop(user)
        for node in held.open:
            held.again += self._channels[node].take(user) if node in self._channels else []
        self.repeated += len(held.again)
        again = sorted(held.again, key=_number)
        for sent in again:
            if _keeps_number(sent):
                self.dispatch(sent)
        for sent in again + held.later:
            if not _keeps_number(sent):
                self._dispatch_anew(sent)
        self.catch_up(user)

    def _dispatch_anew(self, sent: Sent) -> None:
        sent.message = replace(sent.message, number=self.number())
        self.dispatch(sent)


def _number(sent: Sent) -> int:
    return sent.message.number


def _keeps_number(sent: Sent) -> bool:
    return sent.is_doubtful and sent.message.mark is None


def _note(
    sent: Sent, receipt: Receipt, confirmation: Confirmation, queued: Collection[int], lost: Collection[int]
) -> None:
    user, turn = sent.message.user.id, sent.turn
    if confirmation.known:
        receipt.first = confirmation.known.get(turn, receipt.first)
    if turn in lost:
        receipt.withdraw(user)
    elif user not in receipt.delivered:  # else by this node, before it was refused to write that down
        receipt.note(user, is_queued=turn in queued)
    receipt.settle()
