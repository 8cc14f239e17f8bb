"""Presence: telling peers of each other, joined in a short window (docs/protocol.md section 3, "Presence that scales").

A change is noted, and a moment later all that changed goes out together: to everybody while the org is small, else to
those who can be waiting for it. Within a window the latest status of a peer wins, and coming and going cancel out.

What a peer changes about itself goes out four times a second at most, and less often the more bytes it takes to tell
everybody: a profile pays for its size (`schemas/prices.py`).
"""

import math
from collections.abc import Callable, Sequence

import anyio
from anyio.lowlevel import checkpoint
from msgspec import Struct
from msgspec.structs import replace

from app.delivery.link import NUMBERED_FROM, Link
from app.delivery.presence_log import PresenceCursor, PresenceLog
from app.wire.codec import encode
from schemas.capabilities import VERSION_1_1
from schemas.fields import ConnectionMode
from schemas.peers import PeerStatusUpdate
from schemas.prices import BROADCAST_BYTES_PER_SECOND, BROADCASTS_PER_SECOND
from stores.model import Peer, User
from stores.protocols import Directory

WINDOW_SECONDS = 0.03
SLICE_UPDATES = 500
MOST_WATCHED = 100
LATE_SECONDS = 60.0


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
        self, directory: Directory, everyone: int, monotonic: Callable[[], float], *, resume_grace: float
    ) -> None:
        self._directory = directory
        self._everyone = everyone
        self._log_seconds = resume_grace + LATE_SECONDS
        self._monotonic = monotonic
        self._quiet_until: dict[User, float] = {}
        self._watched: dict[User, tuple[User, ...]] = {}
        self._watchers: dict[User, set[User]] = {}
        self._known: dict[User, Peer] = {}
        self._logs: dict[str | None, PresenceLog] = {}
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
            "presence_watchers": len(self._watchers),
            "presence_quiet": len(self._quiet_until),
            "presence_cursors": sum(len(log.cursors) for log in self._logs.values()),
            "presence_log": sum(map(len, self._logs.values())),
        }

    def add(self, link: Link) -> None:
        """Tell this socket of what changes from now on."""
        self.links[link.user] = link
        link.since = self._changes
        if link.offset >= NUMBERED_FROM and link.cursor is None:
            link.cursor = self._log(link.user.org).cursors.setdefault(link.user, PresenceCursor(self._changes))

    def catch_up(self, link: Link) -> None:
        """Tell a socket what its user may have missed, who has got all events up to the link's offset by now."""
        cursor = link.cursor = self._log(link.user.org).cursors.setdefault(link.user, PresenceCursor(self._changes))
        for at, peer in reversed(list(self._log(link.user.org).since(cursor.confirmed))):
            if peer.user != link.user and (self._is_small(link.user.org) or link.user in self._concerned(peer.user)):
                missed = Change(None, peer, at, at, {}, {}, set())
                link.outbox.put_presence(peer.user, missed.update(link))
        cursor.tell(link.offset, self._changes)

    def remove(self, user: User) -> None:
        """Tell the user's socket no more."""
        self.links.pop(user, None)

    def forget(self, user: User) -> None:
        """Tell the user's socket no more, and forget whom the user waited for news of, and how far it was told."""
        self.remove(user)
        self._watch(user, ())
        self.restart(user)

    def restart(self, user: User) -> None:
        """Forget how far the user was told: it cannot go on from there."""
        log = self._logs.get(user.org)
        if log is not None:
            log.cursors.pop(user, None)

    def resume(self, user: User, offset: int) -> None:
        """Go on from the last event that a user's client has handled.

        One who was told over another node until now, or before a restart, is told of all that changed lately.
        """
        self._log(user.org).cursors.setdefault(user, PresenceCursor(0)).resume(offset)

    def _log(self, org: str | None) -> PresenceLog:
        log = self._logs.get(org)
        if log is None:
            log = self._logs[org] = PresenceLog(self._log_seconds)
        return log

    def announce(self, peer: Peer) -> None:
        """Note what became of a peer; it goes out with the window. One that hides is offline to who knew of it."""
        if peer.is_hidden:
            if not self._is_known(peer.user):
                return
            peer = replace(peer, status="offline")
        self._changes += 1
        self._log(peer.user.org).note(self._changes, peer, self._monotonic())
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
        self._watch(user, tuple(peers[:MOST_WATCHED]))

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
            if link.cursor is not None:
                link.cursor.tell(link.offset, until)
            told += len(changes)
            if told >= SLICE_UPDATES:
                told = 0
                await checkpoint()
        for change in due:
            if change.at <= until:
                self._conclude(change.now.user, change)
        self.forget_quiet()

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

    def forget_quiet(self) -> None:
        """Forget the peers that may tell of a change again, and changes of which nobody has to be told any more."""
        now = self._monotonic()
        self._quiet_until = {user: until for user, until in self._quiet_until.items() if until > now}
        for org, log in list(self._logs.items()):
            log.prune(now)
            if not self._directory.peers(org):
                del self._logs[org]

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
        return len(self._directory.peers(org)) <= self._everyone

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
