"""The replica: what all nodes know, kept right by the changes that each node tells of."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import anyio

from stores.base import Peer, Request, Session, StoreUnreachableError, User
from stores.bus import Home, Standing, Watcher
from stores.memory import MemoryDirectory, MemorySent
from stores.redis import scripts
from stores.redis.changes import Change, changes_of
from stores.redis.client import Client
from stores.redis.reading import HASHES, Reading

READ_AT_ONCE = 500
OLDER = "Redis: it has lost what it had told, and is being filled again"


class Org:
    """How far an org has come here, where its users are at home, and which requests and sessions are its own."""

    def __init__(self) -> None:
        self.version = 0
        self.homes: dict[str, Home] = {}
        self.requests: set[str] = set()
        self.sessions: set[str] = set()


class Replica:
    """A directory of everything, and how far it has come, by org."""

    def __init__(self, client: Client) -> None:
        self.directory = MemoryDirectory()
        self.sent = MemorySent()
        self.watcher = Watcher()
        self.standing = Standing()
        self._client = client
        self._orgs: defaultdict[str | None, Org] = defaultdict(Org)
        self._doubtful: set[str | None] = set()
        self._in_doubt = anyio.Event()
        self._reading: Reading | None = None
        self._removed: list[dict[User, Peer]] = []
        self._waiting: dict[tuple[str | None, int], anyio.Event] = {}
        self._takes: dict[str, Callable[..., None]] = {
            "peer": self._take_peer,
            "gone": self._take_gone,
            "home": self._take_home,
            "left": self._take_left,
            "request": self._take_request,
            "taken": self._take_taken,
            "session": self._take_session,
            "ended": self._take_ended,
        }

    @property
    def is_right(self) -> bool:
        """Whether everything that is here is as it was last told."""
        return self.standing.is_current and not self._doubtful

    @property
    def nodes(self) -> set[str]:
        """The nodes that are somebody's home."""
        return {home.node for _, home in self.homes()}

    @contextmanager
    def removing(self) -> Iterator[dict[User, Peer]]:
        """Note which peers are removed by changes that this node makes meanwhile, also if it gets no answer to them."""
        removed: dict[User, Peer] = {}
        self._removed.append(removed)
        try:
            yield removed
        finally:
            self._removed = [each for each in self._removed if each is not removed]

    def version(self, org: str | None) -> int:
        """Return how far an org has come here."""
        known = self._orgs.get(org)
        return 0 if known is None else known.version

    def home(self, user: User) -> Home | None:
        """Return the user's home; None if it has none."""
        org = self._orgs.get(user.org)
        return None if org is None else org.homes.get(user.id)

    def homes(self) -> Iterator[tuple[User, Home]]:
        """Return all users who have a home, and these."""
        return ((User(name, org), home) for org, known in self._orgs.items() for name, home in known.homes.items())

    async def reached(self, org: str | None, version: int, patience: float) -> None:
        """Wait until the org's changes up to this version are here.

        Raises `StoreUnreachableError` if they are not within `patience` seconds.
        """
        if self._orgs[org].version >= version:
            return
        event = self._waiting.setdefault((org, version), anyio.Event())
        with anyio.move_on_after(patience):
            await event.wait()
            return
        raise StoreUnreachableError("Redis: a change was made, but not heard of in time")

    def hear(self, message: bytes) -> None:
        """Take in changes; where some before them were missed, the org is in doubt."""
        for change in changes_of(message):
            if isinstance(change, Change):
                self._hear(change)
            elif change.node != self._client.node:
                self.watcher.revoked(change.revocation)

    def _hear(self, change: Change) -> None:
        known = self._orgs[change.org].version
        if self._reading is not None and self._reading.org == change.org:
            self._reading.hear(change)
        elif change.org not in self._doubtful and change.version == known + 1:
            if change.is_known:
                self._takes[change.kind](change.org, *change.about, is_own=change.node == self._client.node)
            self._advance(change.org, change.version)
        elif change.version > known:
            self._doubt(change.org)

    def lose_track(self) -> None:
        """Take everything for doubtful: changes may have been missed."""
        self.standing.is_current = False
        self._doubtful |= self._orgs.keys()

    async def is_ahead(self) -> bool:
        """Whether the store has lost changes that it had told."""
        known = {org: each.version for org, each in self._orgs.items()}
        return _is_ahead(known, await self._client.versions(READ_AT_ONCE))

    async def keep_right(self, check: Callable[[], Awaitable[None]], done: Callable[[], None]) -> None:
        """Read everything anew, and later what comes to be in doubt.

        `check` is called after each reading, before anything is taken from it, and may raise; `done` each time that
        nothing is in doubt.
        """
        self._doubtful |= set(await self._client.orgs())
        while True:
            while self._doubtful:
                await self.read(next(iter(self._doubtful)), check)
            self.standing.is_current = True
            done()
            self._in_doubt = anyio.Event()
            await self._in_doubt.wait()

    async def look_back(self, seconds: float) -> None:
        """Until cancelled, read anew what lacks a change that the store had so many seconds ago.

        Raises `StoreUnreachableError` if it has lost changes.
        """
        while True:
            known = {org: each.version for org, each in self._orgs.items()}
            versions = known
            with suppress(StoreUnreachableError):  # whoever listens finds out whether it is lost
                versions = await self._client.versions(READ_AT_ONCE)
            if _is_ahead(known, versions):
                raise StoreUnreachableError(OLDER)
            await anyio.sleep(seconds)
            for org, version in versions.items():
                if self._orgs[org].version < version:
                    self._doubt(org)

    async def read(self, org: str | None, check: Callable[[], Awaitable[None]]) -> None:
        """Read an org anew, and tell the watcher of what is not as it was.

        It stays in doubt if one of the changes meanwhile was not told.
        Raises `StoreUnreachableError` if the store has lost some.
        """
        self.standing.reads += 1
        self._reading = reading = Reading(org)
        try:
            since, until = await self._read(reading)
            if until < self._orgs[org].version:
                raise StoreUnreachableError(OLDER)
            await check()
            if await reading.settle(since, until, self._client.patience):
                self._replace(reading)
                self._doubtful.discard(org)
        finally:
            self._reading = None

    async def _read(self, reading: Reading) -> tuple[int, int]:
        """Read a small org at once, and a large one page by page; return its version before and after."""
        key = self._client.space.org(reading.org)
        since, *hashes = await self._client.run(scripts.SNAPSHOT, key, READ_AT_ONCE, *HASHES)
        for name, flat in zip(HASHES, hashes, strict=False):
            reading.put(name, dict(zip(flat[::2], flat[1::2], strict=True)))
        until = since if hashes else await self._client.page(key, HASHES, READ_AT_ONCE, reading.put)
        return since, until

    def _replace(self, reading: Reading) -> None:
        org = reading.org
        self._replace_homes(org, reading.homes)
        self._replace_sessions(org, reading.sessions)
        self._replace_requests(org, reading.requests)
        self._replace_peers(org, reading.peers, reading.places)
        self._advance(org, reading.version)

    def _doubt(self, org: str | None) -> None:
        self._doubtful.add(org)
        self._in_doubt.set()

    def orgs(self) -> list[tuple[str | None, Org]]:
        """Return all orgs, and what is known of each."""
        return list(self._orgs.items())

    def _advance(self, org: str | None, version: int) -> None:
        known = self._orgs[org]
        before, known.version = known.version, version
        waiting = self._waiting
        if version - before <= len(waiting):
            reached = [(org, each) for each in range(before + 1, version + 1) if (org, each) in waiting]
        else:
            reached = [(of, each) for of, each in waiting if of == org and each <= version]
        for each in reached:
            waiting.pop(each).set()

    def _take_peer(self, _org: str | None, place: int, peer: Peer, *, is_own: bool) -> None:
        self._put_peer(place, peer, is_own=is_own)

    def _put_peer(self, place: int, peer: Peer, *, is_own: bool) -> None:
        before, was_at = self.directory.peer(peer.user), self.directory.place(peer.user)
        if before == peer and was_at == place:
            return
        if was_at != place:  # it may have left and come back, unnoticed here
            self.directory.remove_peer(peer.user)
        self.directory.put_peer(peer, place)
        if not is_own and before != peer:
            self.watcher.peer_changed(before, peer)

    def _take_gone(self, org: str | None, user: str, *, is_own: bool) -> None:
        self._remove_peer(User(user, org), is_own=is_own)

    def _remove_peer(self, user: User, *, is_own: bool) -> None:
        before = self.directory.remove_peer(user)
        if before is None:
            return
        if is_own:
            for removed in self._removed:
                removed[user] = before
        else:
            self.watcher.peer_changed(before, None)

    def _take_home(self, org: str | None, user: str, home: Home, *, is_own: bool) -> None:  # noqa: ARG002 - as the others
        self._put_home(User(user, org), home)

    def _take_left(self, org: str | None, user: str, *, is_own: bool) -> None:  # noqa: ARG002
        self._orgs[org].homes.pop(user, None)

    def _put_home(self, user: User, home: Home) -> None:
        homes = self._orgs[user.org].homes
        before, homes[user.id] = homes.get(user.id), home
        if before != home:
            self.watcher.home_changed(user, before, home)

    def _take_request(self, org: str | None, request: Request, *, is_own: bool) -> None:  # noqa: ARG002
        self._put_request(org, request)

    def _put_request(self, org: str | None, request: Request) -> None:
        self._orgs[org].requests.add(request.id)
        self.directory.put_request(request)

    def _take_taken(self, org: str | None, request_id: str, *, is_own: bool) -> None:  # noqa: ARG002
        self._remove_request(org, request_id)

    def _remove_request(self, org: str | None, request_id: str) -> None:
        self._orgs[org].requests.discard(request_id)
        self.directory.remove_request(request_id)

    def _take_session(self, org: str | None, session: Session, *, is_own: bool) -> None:  # noqa: ARG002
        self._put_session(org, session)

    def _put_session(self, org: str | None, session: Session) -> None:
        self._orgs[org].sessions.add(session.id)
        self.sent.forget(session.id, self.directory.put_session(session))

    def _take_ended(self, org: str | None, session_id: str, *, is_own: bool) -> None:  # noqa: ARG002
        self._remove_session(org, session_id)

    def _remove_session(self, org: str | None, session_id: str) -> None:
        self._orgs[org].sessions.discard(session_id)
        self.sent.forget(session_id, self.directory.remove_session(session_id))

    def _replace_homes(self, org: str | None, homes: dict[str, Home]) -> None:
        known = self._orgs[org].homes
        for name in known.keys() - homes.keys():
            del known[name]
        for name, home in homes.items():
            self._put_home(User(name, org), home)

    def _replace_sessions(self, org: str | None, sessions: dict[str, Session]) -> None:
        for session_id in self._orgs[org].sessions - sessions.keys():
            self._remove_session(org, session_id)
        for session in sessions.values():
            if self.directory.session(session.id) != session:
                self._put_session(org, session)

    def _replace_requests(self, org: str | None, requests: dict[str, Request]) -> None:
        for request_id in list(self._orgs[org].requests):
            self._remove_request(org, request_id)
        for request in sorted(requests.values(), key=lambda each: each.expires_at):
            self._put_request(org, request)

    def _replace_peers(self, org: str | None, peers: dict[str, Peer], places: dict[str, int]) -> None:
        for user in [peer.user for peer in self.directory.peers(org) if peer.user.id not in peers]:
            self._remove_peer(user, is_own=False)
        for name in sorted(peers.keys() & places.keys(), key=places.__getitem__):
            self._put_peer(places[name], peers[name], is_own=False)


def _is_ahead(known: Mapping[str | None, int], versions: Mapping[str | None, int]) -> bool:
    return any(versions.get(org, 0) < version for org, version in known.items())
