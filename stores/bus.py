"""The bus protocol: what goes between nodes that share a store, and what each writes for the others to go on with."""

from collections.abc import Callable, Collection
from typing import Protocol

from msgspec import Struct

from stores.base import Peer, Revocation, User


class Home(Struct, frozen=True):
    """The node that keeps what comes for a user, and the number of the socket that made it so; 0 if none did.

    `fence` grows with each new home: a node whose fence is not the latest must not write for the user any more.
    """

    node: str
    socket: int
    fence: int


class Watcher:
    """Who is told of what other nodes changed, as it becomes known; this one does nothing about it."""

    def peer_changed(self, before: Peer | None, after: Peer | None) -> None:
        """Another node changed a peer; None for one that is not there."""

    def home_changed(self, user: User, before: Home | None, after: Home) -> None:
        """Take note that some node, also this one, became the user's home, or did so anew."""

    def revoked(self, revocation: Revocation) -> None:
        """Another node revoked tokens."""

    def arrived(self, node: str, parcel: bytes) -> None:
        """Another node sent something; each parcel arrives once, those of one node in the order of sending."""

    def gone(self, node: str) -> None:
        """Take note that a node is gone."""

    def orphaned(self, user: User, home: Home) -> None:
        """Take note of a user whose home is a node that is gone; until it is adopted, this is called again."""

    def emptied(self) -> None:
        """Take note that the store has lost what was kept in it for users."""


class Box(Struct):
    """What is kept for a user in the store: encoded events, and for one who can resume its tokens.

    The last of `frames` has the number `last`.
    """

    tokens: tuple[str, ...]
    last: int
    frames: list[bytes]


class Standing(Struct):
    """How a node stands with the others: what it counted since it began, and how it is now.

    `published` are publishes to other nodes, `lost` those of others that never came, `dropped` the parcels that had no
    room while the store was away. Of the writes of events `written` were done, and `fenced` refused, for the user's
    home was another node by then. `reads` are orgs read anew, `adopted` the users taken over from nodes that were
    gone. So many `nodes` had a lease when this one renewed its own; `has_lease` says whether that still runs, and
    `is_current` whether this node knows all that changed.
    """

    published: int = 0
    lost: int = 0
    dropped: int = 0
    written: int = 0
    fenced: int = 0
    reads: int = 0
    adopted: int = 0
    nodes: int = 0
    has_lease: bool = False
    is_current: bool = False


class Bus(Protocol):
    """The way to other nodes, and what is written for them to go on with. Nothing here waits for another node.

    What is sent or kept in one turn of the event loop goes out together, in order; while the store is away it waits.
    """

    watcher: Watcher

    @property
    def node(self) -> str:
        """The id of this node."""
        ...

    @property
    def salt(self) -> bytes:
        """Random bytes that all nodes share; empty until the store was reached."""
        ...

    @property
    def standing(self) -> Standing:
        """What an operator may want to know."""
        ...

    @property
    def waiting(self) -> int:
        """How many parcels have not gone out yet."""
        ...

    @property
    def ahead(self) -> float:
        """By how many seconds the clock that all nodes go by is ahead of this one's."""
        ...

    def home(self, user: User) -> Home | None:
        """Return the user's home; None if it has none."""
        ...

    def post(self, node: str, parcel: bytes) -> None:
        """Send a parcel to a node."""
        ...

    def keep(self, user: User, frame: bytes, first: int, last: int, kept: Callable[[bool], None] | None = None) -> None:
        """Write an event for the user; from then on those from `first` to `last` are kept, this being the last.

        `kept` is called once it is written, or with False if this node is not the user's home any more.
        """
        ...

    def open(self, user: User, tokens: Collection[str], *, is_new: bool) -> None:
        """Say with which tokens the user can resume; `is_new` drops what was kept."""
        ...

    async def load(self, user: User) -> Box:
        """Return what is kept for the user."""
        ...

    def forget(self, user: User) -> None:
        """Drop what is kept for the user."""
        ...

    async def adopt(self, user: User, home: Home) -> bool:
        """Make this node the home of a user whose node is gone; False if another one was faster."""
        ...
