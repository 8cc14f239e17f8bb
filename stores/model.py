"""What the stores hold: users and their peers, requests, sessions and revocations."""

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct
from schemas.capabilities import VERSION_1, Spoken
from schemas.fields import Role, Status
from schemas.peers import PeerCard, Profile


class User(NamedTuple):
    """Whose socket it is: `sub` and `org` of the token. Users of different `org` never meet."""

    id: str
    org: str | None = None


class Holder(NamedTuple):
    """The one socket that speaks for a user: the node it is on, and its number there."""

    node: str
    socket: int


class Peer(Struct, frozen=True):
    """A registered user.

    `spoken` is what its socket speaks.
    `status` is what others were told. `lapses_at` is None while a socket is there, else the time (seconds since 1970)
    at which the user is given up; `is_resumable` says that until then it counts as there, since nothing is lost to it.
    `address` is a salted hash, equal for equal addresses. A hidden peer is not listed, and others are not told of it.
    `holder` is the socket that registered it.
    """

    user: User
    profile: Profile
    status: Status
    address: bytes
    lapses_at: float | None = None
    is_resumable: bool = False
    is_hidden: bool = False
    spoken: Spoken = VERSION_1
    holder: Holder | None = None

    @property
    def is_listed(self) -> bool:
        """Whether others find it by looking around."""
        return self.is_present and not self.is_hidden

    @property
    def is_present(self) -> bool:
        """Whether it can be reached: it has a socket, or can resume."""
        return self.lapses_at is None or self.is_resumable

    @property
    def looks(self) -> tuple[object, ...]:
        """What others see of it."""
        return self.profile, self.address, self.status, self.is_hidden

    @property
    def card(self) -> PeerCard:
        """The peer as events name it."""
        return PeerCard(id=self.user.id, profile=self.profile)


class Request(Struct, frozen=True):
    """A connection request that waits for its answer until `expires_at`, seconds since 1970.

    One that invites to a session says to which, and in what role.
    """

    id: str
    requester: User
    target: User
    expires_at: float
    session_id: str | None = None
    role: Role | None = None


class Session(Struct, frozen=True):
    """Who talks with whom, and in which role; in the order of joining."""

    id: str
    host: User
    participants: Mapping[User, Role]


class Revocation(Struct, frozen=True):
    """Which access tokens are good no more: the one with this `jti`, or those of a user issued before a moment.

    Times are seconds since 1970. From `expires_at` on no such token can be valid any more, so it may be forgotten.
    """

    expires_at: float
    token_id: str | None = None
    user: User | None = None
    issued_before: float = 0

    def covers(self, user: User, token_id: str | None, issued_at: float) -> bool:
        """Whether it revokes this token of the user; `issued_at` is 0 for one that does not say."""
        if self.user is None:
            return token_id is not None and token_id == self.token_id
        return user == self.user and issued_at < self.issued_before


class Sizes(NamedTuple):
    """How many peers, here or away, requests and sessions there are."""

    peers: int
    requests: int
    sessions: int
