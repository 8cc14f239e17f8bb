"""The store protocols.

Two kinds, so that a remote store can stand behind them without a change in any handler. The `Directory` is local and
synchronous: what this node knows of peers, requests and sessions, for the data plane and for looking before acting. The
records are asynchronous and authoritative: a change is made there, atomically, and shows in the directory by the time
the call returns. Every method of a record raises `StoreUnreachableError` while its server cannot be asked.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Protocol

from stores.log import Log
from stores.model import Holder, Peer, Request, Revocation, Session, Sizes, User


class StoreUnreachableError(Exception):
    """The store cannot be asked now; the same call may succeed later."""


class SupersededError(Exception):
    """A newer socket of the same user holds the claim."""


class Directory(Protocol):
    """What this node knows. Never waits; what it returns is not to be changed."""

    def peer(self, user: User) -> Peer | None:
        """Return the peer, here or away; None if there is none."""

    def peers(self, org: str | None) -> Collection[Peer]:
        """Return the peers of an org, here or away, in the order of registration; empty if there are none."""

    def listed(self, org: str | None, *, after: int = 0, name: str = "") -> Iterator[Peer]:
        """Return the peers of an org that others may list, in the order of registration, from beyond this place on.

        `name`, casefolded, is a part of their display names in any case. Who is there all the time that somebody pages
        through is returned once. To go through 50,000 costs a few milliseconds.
        """

    def everybody(self) -> Iterator[Peer]:
        """Return the peers of all orgs, here or away, of each org the latest registered first; for operators only."""

    def place(self, user: User) -> int:
        """Return the peer's place in the order of registration, 1 or more; 0 if there is no such peer."""

    def request(self, request_id: str) -> Request | None:
        """Return the pending request; None if it never was, is answered or gone."""

    def requests_of(self, user: User) -> Collection[Request]:
        """Return the pending requests the user made or got, oldest first; empty if there are none."""

    def session(self, session_id: str) -> Session | None:
        """Return the session; None if it never was or is over."""

    def sessions_of(self, user: User) -> Collection[Session]:
        """Return the sessions the user is in, in the order of joining; empty if there are none."""

    def all_sessions(self) -> Iterator[Session]:
        """Return the sessions of all orgs, the latest made first; for operators only."""

    def orphaned(self) -> Collection[User]:
        """Return the users who are in a session, or have a request, and are not registered.

        Whoever is just being given up is among them for a moment.
        """

    def held_by(self, node: str) -> Collection[Peer]:
        """Return the peers that a socket of this node registered, and that did not lose it since; in no order."""

    def sizes(self) -> Sizes:
        """Return how many of each this node knows."""


class PeerRecords(Protocol):
    """Who holds a user's connection, and what is known of the user."""

    async def claim(self, user: User, holder: Holder) -> Holder | None:
        """Make `holder` the user's one socket, and return the one it was until now; None if there was none.

        Raises `SupersededError` if the claim of a newer socket came first. A claim that raises `StoreUnreachableError`
        is not made later.
        """

    async def release(self, user: User, holder: Holder) -> bool:
        """Give the claim up; False, changing nothing, if it is another's by now."""

    async def register(self, peer: Peer, holder: Holder) -> bool:
        """Add or replace the peer, registered by `holder`, if that is the user's one socket.

        One that was there keeps its place in the order. False, changing nothing, if another socket is it by now.
        """

    async def find(self, user: User) -> Peer | None:
        """Return the peer, also if it registered only just now, over another node; None if there is none."""

    async def put_released(self, peer: Peer) -> bool:
        """Replace the peer if nobody holds the user's connection, and it is as `directory` has it.

        False, changing nothing, if somebody holds it by now, or another change came before.
        """

    async def remove(self, user: User) -> Peer | None:
        """Forget the peer and return it; None if there was none."""

    async def remove_released(self, user: User) -> Peer | None:
        """Do so if nobody holds the user's connection; None, changing nothing, if somebody does by now."""

    async def take_lapsed(self, now: float) -> list[Peer]:
        """Remove the peers whose `lapses_at` has come and return them, each to one caller only."""


class RequestRecords(Protocol):
    """Pending connection requests."""

    async def add(self, request: Request) -> None:
        """Keep a new request."""

    async def take(self, request_id: str) -> Request | None:
        """Remove the request and return it, to one caller only; None if it is not there."""

    async def take_expired(self, now: float) -> list[Request]:
        """Remove the requests whose time is up and return them, each to one caller only, oldest first."""


class SessionRecords(Protocol):
    """Sessions and their participants."""

    async def put(self, session: Session) -> None:
        """Keep a new session."""

    async def swap(self, before: Session, after: Session | None) -> bool:
        """Change the session from `before` to `after`, None to end it; False, changing nothing, if it is not as before.

        Either way the directory shows the session as it now is by the time the call returns.
        """


class Revocations(Protocol):
    """The tokens that an operator has revoked."""

    async def add(self, revocation: Revocation, now: float) -> None:
        """Keep it until its `expires_at`. Of several about one user the latest of each time counts."""

    async def cover(self, user: User, token_id: str | None, issued_at: float, now: float) -> bool:
        """Whether a token of the user is revoked; `issued_at` is 0 for one that does not say."""


class Listener:
    """Is told what other nodes did, as it becomes known; this one does nothing about it. No call waits."""

    def peer_changed(self, before: Peer | None, after: Peer | None) -> None:
        """Act on a peer that another node changed; None for one that is not there."""

    def superseded(self, user: User, holder: Holder) -> None:
        """Act on the claim of a user, whose socket was `holder`, of this node, being another socket's."""

    def revoked(self, revocation: Revocation) -> None:
        """Act on tokens that another node revoked."""

    def orphaned(self, peer: Peer) -> None:
        """Act on a peer whose node is gone; called again until the peer is put as one that is away."""

    def resynced(self) -> None:
        """Act on being up to date again; revocations may have been missed meanwhile."""


class Stores(Protocol):
    """All that is remembered.

    `listener` is told what other nodes did. `node` is the id of this one. `salt` is what addresses are hashed with, the
    same on all nodes; empty until it is known. `ahead` is by how many seconds the clock that all nodes go by is ahead
    of this one's monotonic clock; None if they go by the time of day.
    """

    listener: Listener

    @property
    def node(self) -> str:
        """See the class."""

    @property
    def salt(self) -> bytes:
        """See the class."""

    @property
    def ahead(self) -> float | None:
        """See the class."""

    @property
    def log(self) -> Log:
        """What is kept for users."""

    def stats(self) -> dict[str, float]:
        """Return what there is to know about the engine, for metrics; names in snake case."""

    @property
    def directory(self) -> Directory:
        """What this node knows."""

    @property
    def peers(self) -> PeerRecords:
        """Users and their claims."""

    @property
    def requests(self) -> RequestRecords:
        """Pending requests."""

    @property
    def sessions(self) -> SessionRecords:
        """Sessions."""

    @property
    def revocations(self) -> Revocations:
        """Revoked tokens."""

    async def run(self, started: Callable[[], None]) -> None:
        """Do the store's work in the background, until cancelled or until there is none.

        `started` is called, once at least, when the directory is right or turned out not to be had for now.
        """

    async def ping(self) -> None:
        """Return if the store answers; raise `StoreUnreachableError` if not."""

    async def close(self) -> None:
        """Let go of the store's connections."""
