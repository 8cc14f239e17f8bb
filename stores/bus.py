"""The bus protocol: what goes between nodes that share a store, and what each writes for the others to go on with."""

from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Raw, Struct

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

    def arrived(self, node: str, parcels: Raw) -> None:
        """Another node sent these, a list in MessagePack; each comes once, and in the order of sending."""

    def answered(self) -> None:
        """Take note that some of what was to be kept is, and that whoever waited for that has been told."""

    def gone(self, node: str) -> None:
        """Take note that a node is gone."""

    def has_socket(self, number: int) -> bool:  # noqa: ARG002
        """Whether this socket of this node is open."""
        return True

    def orphaned(self, user: User, home: Home) -> None:
        """Take note of a user whose home is a node that is gone; until it is adopted, this is called again.

        So it is then, as long as no socket of the user claims it: the answer to the adoption may have been lost.
        And so it is with who is there by a socket that this node has not: a store that lost something may have it.
        """

    def looked(self) -> None:
        """Take note that the lease was renewed, and that the store was there for a whole one."""

    def caught_up(self) -> None:
        """Take note that this node is current again; it may have missed revocations meanwhile."""

    def emptied(self) -> None:
        """Take note that the store has lost what was kept in it for users."""


class Place(Struct, array_like=True, frozen=True, gc=False):
    """The number that a home gave an event, and the fence that it had then."""

    fence: int
    offset: int


class Mark(Struct, array_like=True, frozen=True, gc=False):
    """By what a message is known that may be sent again, 8 bytes, and when it was sent first: a `Clock.timestamp`."""

    key: bytes
    timestamp: str


class Box(Struct):
    """What is kept for a user in the store: encoded events, and for one who can resume its tokens.

    With each token is the fence of the home whose numbers its client counts. The last of `frames` has the number
    `last`. `seen` is how far it came with what each node sent, `marks` are those of the latest messages, by the
    numbers that homes gave these. `fence` is that of the home which wrote here last (0 if none did), `bases` have how
    far it goes with the numbers that each home before that gave, by its fence.
    """

    tokens: dict[str, int] = {}
    last: int = 0
    frames: list[bytes] = []
    seen: dict[str, int] = {}
    marks: dict[Place, Mark] = {}
    fence: int = 0
    bases: dict[int, int] = {}


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

    What is sent or kept in one turn of the event loop goes out together, in order, unless it is much. While the store
    is away it waits, as it does for a node that is slow to take what it is sent.
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
        """By how many seconds the clock that all nodes go by is ahead of this one's monotonic one."""
        ...

    def home(self, user: User) -> Home | None:
        """Return the user's home; None if it has none."""
        ...

    @property
    def is_away(self) -> bool:
        """Whether the store does not answer, as far as is known, or what is for some node waits for what went before.

        What has no answer then may not have gone out yet: to send it again would only make it more.
        """
        ...

    def post(self, node: str, parcel: object, size: int) -> None:
        """Send a parcel of about so many bytes to a node: whatever msgspec can encode."""
        ...

    def keep(
        self,
        user: User,
        frame: bytes,
        first: int,
        last: int,
        *,
        seen: Mapping[str, int],
        mark: Mark | None = None,
        kept: Callable[[bool], None] | None = None,
    ) -> None:
        """Write an event for the user; from then on those from `first` to `last` are kept, this being the last.

        `seen` is how far the user came with what each node sent, this event included. `kept` is called once it is
        written, or with False if the user was claimed since then. So it is if the store was emptied, or lacks what came
        before this; then all is to be written anew.
        """
        ...

    def when_sent(self, call: Callable[[], None]) -> bool:
        """Call this once all that is to be kept by now is on its way, so that it will be if this node dies.

        False, and no call, if the store does not answer anyway. Should it cease to, the call comes all the same.
        """
        ...

    def open(
        self, user: User, tokens: Mapping[str, int], bases: Mapping[int, int], *, is_new: bool, last: int = 0
    ) -> None:
        """Say with which tokens the user can resume, and how far what is kept goes with the numbers of other homes.

        `is_new` drops what was kept, and numbers go on after `last`.
        """
        ...

    async def load(self, user: User) -> Box:
        """Return what is kept for the user."""
        ...

    def forget(self, user: User) -> None:
        """Drop what is kept for the user."""
        ...

    async def reclaim(self, user: User, home: Home, socket: int) -> bool:
        """Claim a user back for a socket of this node; False if that home is not the user's any more.

        To do so twice, as one whose answer was lost has to, is to do it once. So it is to `adopt`.
        """
        ...

    async def adopt(self, user: User, home: Home) -> bool:
        """Make this node the home of a user whose node is gone; False if another one was faster."""
        ...
