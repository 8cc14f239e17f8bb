"""Presence: telling peers of each other, joined in a short window (docs/protocol.md section 3, "Presence that scales").

A change is noted, and a moment later all that changed goes out together: to everybody while the org is small, else to
those who can be waiting for it. Within a window the latest status of a peer wins, and coming and going cancel out.

What a peer changes about itself goes out four times a second at most, and less often the more bytes it takes to tell
everybody: a profile pays for its size (`schemas/prices.py`).
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import anyio
from anyio.lowlevel import checkpoint
from msgspec import Struct
from msgspec.structs import replace

from app.delivery.chronicle import Chronicle, Sight
from app.delivery.mail import Mailbox
from app.delivery.outbox import Outbox
from app.wire.codec import encode
from schemas.capabilities import VERSION_1, VERSION_1_1, Spoken
from schemas.fields import ConnectionMode
from schemas.peers import PeerStatusUpdate
from schemas.prices import BROADCAST_BYTES_PER_SECOND, BROADCASTS_PER_SECOND
from stores.base import Directory, Peer, User

WINDOW_SECONDS = 0.03
SLICE_UPDATES = 500
WATCHED = 100


class Link(Struct, eq=False):
    """A registered user's socket. It is not told of what changed up to `since`, before it registered.

    `box` is where its events are numbered and kept, and `sight` how far it was told, if it speaks `resume`.
    """

    user: User
    outbox: Outbox
    address: bytes
    since: int
    spoken: Spoken = VERSION_1
    box: Mailbox | None = None
    sight: Sight | None = None


class Change(Struct, eq=False):
    """What became of a peer in this window.

    `before` is what was known of it (None: it was not there), `began` and `at` count the first and the latest change,
    `bounced` says whether it was gone for a moment, `told` who has heard what early, `concerned` who waits for news of
    it, also in a large org; `updates` holds the encoded event per connection mode, with metadata and without; `size`
    counts the bytes that it took to tell of it.
    """

    before: Peer | None
    now: Peer
    began: int
    at: int
    told: dict[User, Peer]
    updates: dict[tuple[ConnectionMode, bool], bytes]
    concerned: set[User]
    bounced: bool = False
    size: int = 0

    @property
    def is_gone(self) -> bool:
        """Whether the peer is away, or hides."""
        return self.now.status == "offline" or self.now.lapses_at is not None

    def is_news_to(self, link: Link) -> bool:
        """Whether a socket does not know of this yet; coming and going within the window cancel out."""
        if link.user == self.now.user:
            return False
        heard = self.told.get(link.user)
        if heard is not None:
            return heard is not self.now
        if link.since >= self.at:
            return False
        return link.since >= self.began or not self._is_moot()

    def _is_moot(self) -> bool:
        """Whether nothing is left to tell those who knew how it was before the window."""
        if self.before is None or self.now.status == "offline":
            return self.before is None and self.now.status == "offline"
        return self.bounced and _looks(self.before) == _looks(self.now)

    def update(self, link: Link) -> bytes:
        """Return the encoded event for a receiver, the same bytes for all who are to see the same."""
        peer = self.now
        mode: ConnectionMode = "LAN" if link.address == peer.address else "REMOTE"
        variant = mode, VERSION_1_1 in link.spoken
        update = self.updates.get(variant)
        if update is None:
            profile = peer.profile.shown_to(link.spoken)
            event = PeerStatusUpdate(id=peer.user.id, profile=profile, status=peer.status, connection_mode=mode)
            update = self.updates[variant] = encode(event)
        return update


class Presence:
    """The registered sockets, the changes of the current window, and who is told of them."""

    def __init__(
        self, directory: Directory, everyone: int, monotonic: Callable[[], float], *, has_nodes: bool = False
    ) -> None:
        self._directory = directory
        self._everyone = everyone
        self._has_nodes = has_nodes
        self._monotonic = monotonic
        self._quiet_until: dict[User, float] = {}
        self._registered: Counter[str | None] = Counter()
        self._watched: dict[User, tuple[User, ...]] = {}
        self._watchers: dict[User, set[User]] = {}
        self._known: dict[User, Peer] = {}
        self._chronicles: dict[str | None, Chronicle] = {}
        self._changes = 0
        self._news = anyio.Event()
        self.updates = 0
        self.links: dict[User, Link] = {}
        self.pending: dict[User, Change] = {}

    @property
    def changes(self) -> int:
        """How many changes there were."""
        return self._changes

    def sizes(self) -> dict[str, int]:
        """Return how many entries each table has."""
        return {
            "links": len(self.links),
            "presence_pending": len(self.pending),
            "presence_known": len(self._known),
            "presence_watched": len(self._watched),
            "presence_quiet": len(self._quiet_until),
            "presence_sights": sum(len(chronicle.sights) for chronicle in self._chronicles.values()),
        }

    def add(
        self, user: User, outbox: Outbox, address: bytes, spoken: Spoken = VERSION_1, box: Mailbox | None = None
    ) -> None:
        """Tell this socket of what changes from now on; one that is told already loses nothing."""
        link = self.links.get(user)
        if link is not None and link.outbox is outbox:
            return
        self.remove(user)
        link = self.links[user] = Link(user, outbox, address, self._changes, spoken, box)
        self._registered[user.org] += 1
        if box is not None:
            chronicle = self._chronicles.setdefault(user.org, Chronicle())
            link.sight = chronicle.sights.setdefault(user, Sight(self._changes))

    def catch_up(self, user: User, offset: int) -> None:
        """Tell a socket what its user may have missed, who has handled the event with this offset."""
        link = self.links[user]
        if link.sight is None or link.box is None:
            return
        link.sight.resume(offset)
        for at, peer in reversed(list(self._chronicles[user.org].since(link.sight.confirmed))):
            if peer.user != user and (self._is_small(user.org) or user in self._concerned(peer.user)):
                missed = Change(None, peer, at, at, {}, {}, set())
                link.outbox.put_presence(peer.user, missed.update(link))
        link.sight.tell(link.box.last, self._changes)

    def remove(self, user: User) -> None:
        """Tell the user's socket no more."""
        if self.links.pop(user, None) is None:
            return
        self._registered[user.org] -= 1
        if not self._registered[user.org]:
            del self._registered[user.org]

    def forget(self, user: User) -> None:
        """Tell the user's socket no more, and forget whom the user waited for news of, and how far it was told."""
        self.remove(user)
        self._watch(user, ())
        self.restart(user)

    def restart(self, user: User) -> None:
        """Forget how far the user was told: it cannot go on from there."""
        chronicle = self._chronicles.get(user.org)
        if chronicle is None:
            return
        chronicle.sights.pop(user, None)
        if not chronicle.sights and not self._has_nodes:
            del self._chronicles[user.org]

    def recall(self, user: User) -> None:
        """Have a user who comes from another node told of all that is noted here: what it knows is not known here."""
        self._chronicles.setdefault(user.org, Chronicle()).sights[user] = Sight(0)

    def sight(self, user: User) -> Sight | None:
        """Return how far the user was told; None if it cannot resume."""
        chronicle = self._chronicles.get(user.org)
        return None if chronicle is None else chronicle.sights.get(user)

    def announce(self, peer: Peer) -> None:
        """Note what became of a peer; it goes out with the window. One that hides is offline to who knew of it."""
        if peer.is_hidden:
            if not self._is_known(peer.user):
                return
            peer = replace(peer, status="offline")
        self._changes += 1
        if self._has_nodes and peer.user.org not in self._chronicles:
            self._chronicles[peer.user.org] = Chronicle()
        if peer.user.org in self._chronicles:
            self._chronicles[peer.user.org].note(self._changes, peer)
        change = self.pending.get(peer.user)
        if change is None:
            known = self._known.get(peer.user)
            self.pending[peer.user] = change = Change(known, peer, self._changes, self._changes, {}, {}, set())
        else:
            change.bounced |= change.now.status == "offline"
            change.now, change.at = peer, self._changes
            change.updates.clear()
        change.concerned |= self._concerned(peer.user)
        self._news.set()

    def settle(self, peer: User, link: Link) -> None:
        """Tell a socket what is pending about a peer, ahead of an event that names it."""
        change = self.pending.get(peer)
        if change is not None:
            self._tell(link, change)

    def listed(self, user: User, peers: Sequence[User]) -> None:
        """Note that a socket is about to be shown who is there: it waits for news of the first of them.

        What is pending goes out before, so that the list and the updates around it tell one story.
        """
        link = self.links.get(user)
        if link is None:
            return
        concerning = {*peers, *self._watched.get(user, ())}
        is_small = self._is_small(user.org)
        for peer, change in self.pending.items():
            if peer in concerning or (is_small and peer.org == user.org):
                self._tell(link, change)
                change.told[user] = change.now
        self._watch(user, tuple(peers[:WATCHED]))

    async def run(self) -> None:
        """Send what is pending, window by window, until cancelled."""
        while True:
            await self._await_news()
            await anyio.sleep(WINDOW_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Send what is pending and due, in slices between which everything else goes on."""
        until, due = self._changes, self._due()
        told = 0
        for link, changes in self._rounds(due):
            for change in changes:
                self._tell(link, change)
            if link.sight is not None and link.box is not None:
                link.sight.tell(link.box.last, until)
            told += len(changes)
            if told >= SLICE_UPDATES:
                told = 0
                await checkpoint()
        for change in due:
            if change.at <= until:
                self._conclude(change.now.user, change)
        self._forget_quiet()

    async def _await_news(self) -> None:
        """Wait for a change, until one that was put off is due, or until the last quiet period ends."""
        now = self._monotonic()
        due = [now if change.is_gone else self._quiet_until.get(user, now) for user, change in self.pending.items()]
        wake_at = min(due, default=max(self._quiet_until.values(), default=math.inf))
        with anyio.move_on_after(max(0.0, wake_at - now)):
            await self._news.wait()
        self._news = anyio.Event()

    def _due(self) -> list[Change]:
        """Return the changes to tell of now. A peer that is gone, or hides, is told of at once."""
        now = self._monotonic()
        quiet_until = self._quiet_until
        return [change for user, change in self.pending.items() if change.is_gone or quiet_until.get(user, now) <= now]

    def _forget_quiet(self) -> None:
        """Forget the peers that may tell of a change again."""
        now = self._monotonic()
        self._quiet_until = {user: until for user, until in self._quiet_until.items() if until > now}

    def _conclude(self, user: User, change: Change) -> None:
        del self.pending[user]
        wait = max(1 / BROADCASTS_PER_SECOND, change.size / BROADCAST_BYTES_PER_SECOND)
        self._quiet_until[user] = self._monotonic() + wait
        if change.now.status == "offline":
            self._known.pop(user, None)
        else:
            self._known[user] = change.now

    def _rounds(self, due: list[Change]) -> list[tuple[Link, list[Change]]]:
        """Return each socket with the changes it may be told of, so that each is written to once."""
        by_org: dict[str | None, list[Change]] = {}
        for change in due:
            by_org.setdefault(change.now.user.org, []).append(change)
        rounds: list[tuple[Link, list[Change]]] = []
        for org, changes in by_org.items():
            for user, news in self._audience(org, changes).items():
                link = self.links.get(user)
                if link is not None:
                    rounds.append((link, news))
        return rounds

    def _audience(self, org: str | None, changes: list[Change]) -> dict[User, list[Change]]:
        """Return who of an org is told of which changes: everybody of all while it is small, else those concerned."""
        if self._is_small(org):
            return {peer.user: changes for peer in self._directory.peers(org)}
        audience: dict[User, list[Change]] = {}
        for change in changes:
            for user in change.concerned | self._concerned(change.now.user):
                audience.setdefault(user, []).append(change)
        return audience

    def _tell(self, link: Link, change: Change) -> None:
        if change.is_news_to(link):
            change.told[link.user] = change.now
            self.updates += 1
            update = change.update(link)
            change.size += len(update)
            link.outbox.put_presence(change.now.user, update)

    def _is_known(self, user: User) -> bool:
        """Whether others were told, or soon are, that the peer is there."""
        change = self.pending.get(user)
        peer = self._known.get(user) if change is None else change.now
        return peer is not None and peer.status != "offline"

    def _is_small(self, org: str | None) -> bool:
        count = len(self._directory.peers(org)) if self._has_nodes else self._registered[org]
        return count <= self._everyone

    def _concerned(self, peer: User) -> set[User]:
        """Return who can be waiting for news of a peer in a large org."""
        users = set(self._watchers.get(peer, ()))
        for session in self._directory.sessions_of(peer):
            users.update(session.participants)
        for request in self._directory.requests_of(peer):
            users.update((request.requester, request.target))
        return users

    def _watch(self, user: User, peers: tuple[User, ...]) -> None:
        for peer in self._watched.pop(user, ()):
            watchers = self._watchers[peer]
            watchers.discard(user)
            if not watchers:
                del self._watchers[peer]
        peers = tuple(dict.fromkeys(peers))
        if peers:
            self._watched[user] = peers
        for peer in peers:
            self._watchers.setdefault(peer, set()).add(user)


def _looks(peer: Peer) -> tuple[object, ...]:
    """Return what others see of a peer."""
    return peer.profile, peer.address, peer.status
