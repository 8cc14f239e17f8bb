"""What a handler may ask of the world outside, as protocols; `app/` implements them."""

from collections.abc import Iterable
from enum import IntEnum
from typing import Protocol

from msgspec import Struct
from schemas.errors import CloseCode
from schemas.events import ServerEvent
from schemas.peers import PeerEntry
from stores.base import Holder, Peer, Stores, User


class State(IntEnum):
    """How far a socket has come (protocol.md section 2)."""

    CONNECTED = 0
    AUTHENTICATED = 1
    REGISTERED = 2


class Identity(Struct, frozen=True):
    """Whom a token names, from its claims; `expires_at` in seconds since 1970."""

    user: User
    display_name: str
    email: str | None
    roles: tuple[str, ...]
    expires_at: float


class Limits(Struct, frozen=True, kw_only=True):
    """The settings that handlers go by; times in seconds."""

    session_grace: float
    request_life: float
    directory_page: int
    sessions_per_user: int
    requests_per_user: int


class Clock(Protocol):
    """The time of day."""

    def now(self) -> float:
        """Return seconds since 1970."""
        ...

    def timestamp(self) -> str:
        """Return the time as ISO 8601 in UTC, in milliseconds: `2026-01-31T09:00:00.000Z`."""
        ...


class Ids(Protocol):
    """Identifiers that nobody can guess."""

    def __call__(self, prefix: str) -> str:
        """Return a new identifier: the prefix, then 128 random bits."""
        ...


class Tokens(Protocol):
    """Access tokens."""

    def verify(self, token: object) -> Identity:
        """Return whom the token names; raises `EventError` with `ERR_1001`, `ERR_1002` or `ERR_1003`."""
        ...


class Socket(Protocol):
    """The client's connection."""

    @property
    def holder(self) -> Holder:
        """How the stores know this socket."""
        ...

    @property
    def address(self) -> bytes:
        """Salted hash of where it comes from."""
        ...

    @property
    def state(self) -> State:
        """How far it has come."""
        ...

    @property
    def identity(self) -> Identity:
        """Who it is, once authenticated."""
        ...

    def authenticated(self, identity: Identity) -> None:
        """Take the socket to AUTHENTICATED, or renew who it is."""
        ...

    def registered(self) -> None:
        """Take the socket to REGISTERED."""
        ...

    def send(self, event: ServerEvent) -> None:
        """Send an answer, in order with all else that goes to this socket."""
        ...

    def close(self, code: CloseCode, reason: str) -> None:
        """Close after what was sent; for the sessions this is a drop."""
        ...


class Delivery(Protocol):
    """The way to other users. Nothing here waits for a receiver."""

    def send(self, users: Iterable[User], event: ServerEvent, about: User | None = None) -> None:
        """Hand the event to each user's socket, or keep it for one who is away; others do not get it.

        `about` is the peer that the event names: a pending presence update of it goes out before, and if it is among
        the users, it does not get the event itself.
        """
        ...

    def attach(self, user: User, socket: Socket) -> None:
        """Deliver what was kept for the user, in order, and from now on to this socket."""
        ...

    def detach(self, user: User) -> None:
        """Keep what comes for the user from now on, until `attach` or `forget`."""
        ...

    def forget(self, user: User) -> None:
        """Drop what was kept and keep nothing more."""
        ...

    def supersede(self, holder: Holder) -> None:
        """Tell that socket that it was superseded, and close it."""
        ...

    def announce(self, peer: Peer) -> None:
        """Tell those who are to know of the peer's new status or profile; soon, joined with other news."""
        ...

    def listed(self, user: User, peers: list[PeerEntry]) -> None:
        """Note which peers a user was shown: it is told of their changes, and has been told of their state."""
        ...


class Services(Struct, frozen=True, kw_only=True):
    """What every handler has, whichever socket it serves."""

    stores: Stores
    delivery: Delivery
    tokens: Tokens
    clock: Clock
    ids: Ids
    limits: Limits
