"""Other nodes: what arrives from them, and what follows when users move from node to node.

A user's home is the node that its latest socket is on, or was. It numbers and keeps what comes for the user; everybody
else sends it there. What it keeps for one who can resume is written in the store as well, behind a fence that moves
with the home, so that the next home goes on from what is there and nothing else is added to it.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Protocol

from msgspec import Raw, Struct

from app.delivery.cluster import Cluster
from app.delivery.parcels import Arrival, Confirmation, Message, Turn, parcels_of
from handlers.ports import Receipt
from schemas.capabilities import Spoken
from stores.base import Directory, Peer, Revocation, User
from stores.bus import Bus, Home, Place, Watcher

CONFIRMATION_BYTES = 100


class House(Protocol):
    """What this node does for others; see `app.delivery.handover.Handover`."""

    def deliver(self, node: str, message: Message, receipt: Receipt | None) -> None:
        """Hand over or keep what a node sent."""
        ...

    def moved(self, user: User, home: Home, *, is_claimed: bool) -> None:
        """Let go of a user whose home is another node by now; `home` is what this one was to it.

        `is_claimed` says whether it has a socket there; else that node took this one for gone.
        """
        ...

    def expect(self, user: User, spoken: Spoken, home: Home) -> None:
        """Have what comes for a user wait whose home is this node by now; `home` is what it is to it.

        Another socket of the user that has been here since before others took it over is superseded.
        """
        ...

    def is_here(self, user: User) -> bool:
        """Whether the user is registered over a socket of this node."""
        ...

    def users(self) -> Iterable[User]:
        """Return all who are."""
        ...

    def send_back(self, user: User) -> None:
        """Close the socket of a user whom the store has lost, to come again."""
        ...

    def has_socket(self, number: int) -> bool:
        """Whether this socket of this node is open."""
        ...

    def is_held(self, user: User) -> bool:
        """Whether what comes for the user waits, since it is not known yet what another node kept."""
        ...

    def peer_changed(self, before: Peer | None, after: Peer | None) -> None:
        """Tell those who are to know of what another node changed."""
        ...

    def rewrite(self) -> None:
        """Write all that is kept here for users who can resume anew."""
        ...


class Followers(Struct, frozen=True):
    """What follows from what other nodes do, each run in a task of the application by `spawn`."""

    adopt: Callable[[User, Home], Awaitable[None]]
    reassert: Callable[[User, Home, Home], Awaitable[None]]
    enforce: Callable[[Revocation], Awaitable[None]]
    spawn: Callable[[Awaitable[None]], None]
    recheck: Callable[[], Awaitable[None]] | None = None


class Inbox:
    """What arrived from one node and is not confirmed to it, in its turn."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._open: deque[Arrival] = deque()
        self._last = self._missing = 0

    def add(self, turn: int, heard: int) -> Arrival:
        """Take in a message; what becomes of it is written into what is returned."""
        if turn > max(self._last, heard) + 1:
            self._missing = turn - 1
        self._last = turn
        arrival = Arrival(node=self._node, turn=turn, heard=heard)
        self._open.append(arrival)
        return arrival

    def overtook(self, arrival: Arrival) -> bool:
        """Whether its node sent something before it that did not arrive, and did not know that yet."""
        return arrival.heard < self._missing

    def confirmations(self) -> Iterator[Confirmation]:
        """Return what is known by now, each time up to the next turn that was missed."""
        run: list[Arrival] = []
        while self._open and not self._open[0].pending:
            if run and self._open[0].turn != run[-1].turn + 1:
                yield _confirmation(run)
                run = []
            run.append(self._open.popleft())
        if run:
            yield _confirmation(run)


class Nodes(Watcher):
    """See the module."""

    def __init__(self, bus: Bus, directory: Directory, cluster: Cluster, house: House, followers: Followers) -> None:
        self._bus = bus
        self._directory = directory
        self._relay = cluster.relay
        self._ledger = cluster.ledger
        self._house = house
        self._follow = followers
        self._inboxes: dict[str, Inbox] = {}
        self._adopting: set[User] = set()
        self._lost: set[User] = set()

    def arrived(self, node: str, parcels: Raw) -> None:
        """See `Watcher`."""
        inbox = self._inboxes.get(node)
        if inbox is None:
            inbox = self._inboxes[node] = Inbox(node)
        for parcel in parcels_of(parcels):
            if isinstance(parcel, Turn):
                self._take(inbox, node, parcel)
            else:
                self._relay.confirmed(node, parcel)
        self._confirm(node, inbox)

    def answered(self) -> None:
        """See `Watcher`."""
        for node, inbox in self._inboxes.items():
            self._confirm(node, inbox)

    def peer_changed(self, before: Peer | None, after: Peer | None) -> None:
        """See `Watcher`."""
        self._house.peer_changed(before, after)

    def home_changed(self, user: User, before: Home | None, after: Home) -> None:
        """See `Watcher`. One adopted while it is here, since this node was taken for gone, is claimed back."""
        if after.socket:
            self._relay.back(after.node)
        is_ours = before is not None and before.node == self._bus.node
        if before is not None and is_ours and not after.socket and self._house.is_here(user):
            self._ledger.contest(user)
            self._relay.contest(user)
            self._follow.spawn(self._follow.reassert(user, before, after))
            return
        if before is None or before.node != after.node:
            self._move(user, before, after)
        self._ledger.heard(user)
        self.answered()  # of what was refused before this was heard, too

    def gone(self, node: str) -> None:
        """See `Watcher`."""
        self._inboxes.pop(node, None)
        self._relay.gone(node)

    def has_socket(self, number: int) -> bool:
        """See `Watcher`."""
        return self._house.has_socket(number)

    def orphaned(self, user: User, home: Home) -> None:
        """See `Watcher`."""
        if user not in self._adopting and not (home.node == self._bus.node and self._is_adopted(user)):
            self._adopting.add(user)
            self._follow.spawn(self._adopt(user, home))

    def looked(self) -> None:
        """See `Watcher`. Who is here, and was not in the directory the last time either, has to come again."""
        directory, home = self._directory, self._bus.home
        lost = {user for user in self._house.users() if directory.peer(user) is None or home(user) is None}
        for user in lost & self._lost:
            self._house.send_back(user)
        self._lost = lost

    def revoked(self, revocation: Revocation) -> None:
        """See `Watcher`."""
        self._follow.spawn(self._follow.enforce(revocation))

    def caught_up(self) -> None:
        """See `Watcher`."""
        if self._follow.recheck is not None:
            self._follow.spawn(self._follow.recheck())

    def emptied(self) -> None:
        """See `Watcher`."""
        self._house.rewrite()

    def _move(self, user: User, before: Home | None, after: Home) -> None:
        peer = self._directory.peer(user)
        if after.node == self._bus.node and peer is not None:
            self._house.expect(user, peer.spoken, after)
        if before is None:
            return
        if before.node == self._bus.node:
            self._house.moved(user, before, is_claimed=bool(after.socket))
        else:
            self._relay.moved(user)

    def _is_adopted(self, user: User) -> bool:
        """Whether all is done for a user whose home this node became as that of another was gone."""
        peer = self._directory.peer(user)
        return peer is not None and peer.lapses_at is not None and not self._house.is_held(user)

    async def _adopt(self, user: User, home: Home) -> None:
        try:
            await self._follow.adopt(user, home)
        finally:
            self._adopting.discard(user)

    def _take(self, inbox: Inbox, node: str, turn: Turn) -> None:
        message, arrival = turn.message, inbox.add(turn.turn, turn.heard)
        if self._relay.elsewhere(message.user) is not None or inbox.overtook(arrival):
            self._relay.refuse(message.user, arrival)
        else:
            self._house.deliver(node, message, arrival)

    def _confirm(self, node: str, inbox: Inbox) -> None:
        for confirmation in inbox.confirmations():
            self._bus.post(node, confirmation, CONFIRMATION_BYTES)


def _confirmation(run: list[Arrival]) -> Confirmation:
    """Return what became of messages that had their turns one after the other."""
    queued: list[int] = []
    lost: list[int] = []
    moved: dict[int, Place | None] = {}
    known: dict[int, str] = {}
    for arrival in run:
        if arrival.is_moved:
            moved[arrival.turn] = arrival.place
        elif arrival.queued:
            queued.append(arrival.turn)
        elif not arrival.delivered:
            lost.append(arrival.turn)
        if arrival.first is not None:
            known[arrival.turn] = arrival.first
    return Confirmation(run[0].turn, run[-1].turn, queued, lost, moved, known)
