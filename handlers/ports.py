"""What a handler may ask of the world outside, as protocols; `app/` implements them."""

from collections.abc import Callable, Collection, Iterable, Sequence
from enum import IntEnum
from typing import Literal, Protocol

from msgspec import Raw, Struct, field
from schemas.auth import Resume
from schemas.capabilities import CAPABILITIES, Capability, Spoken
from schemas.errors import CloseCode, EventError
from schemas.events import ServerEvent
from stores.log import Appended, MessageKey, Outcome
from stores.model import Holder, Peer, Revocation, User
from stores.protocols import Stores

from handlers.retries import Retries


class State(IntEnum):
    """How far a socket has come (docs/protocol.md section 2)."""

    CONNECTED = 0
    AUTHENTICATED = 1
    REGISTERED = 2


class Identity(Struct, frozen=True):
    """Whom a token names, from its claims; times in seconds since 1970, `issued_at` 0 if it does not say."""

    user: User
    display_name: str
    email: str | None
    roles: tuple[str, ...]
    expires_at: float
    issued_at: float = 0
    token_id: str | None = None
    scopes: tuple[str, ...] = ()


class Limits(Struct, frozen=True, kw_only=True):
    """The settings that handlers go by; times in seconds."""

    session_grace: float
    resume_grace: float
    request_life: float
    directory_page: int
    sessions_per_user: int
    session_participants: int
    requests_per_user: int
    message_bytes: int
    events_per_second: int
    burst: int
    heartbeat_seconds: float


class Clock(Protocol):
    """The time of day."""

    def now(self) -> float:
        """Return seconds since 1970."""

    def timestamp(self) -> str:
        """Return the time as ISO 8601 in UTC, in milliseconds: `2026-01-31T09:00:00.000Z`."""

    def timestamp_of(self, moment: float) -> str:
        """Return a moment, seconds since 1970, in the same form."""


class Ids(Protocol):
    """Identifiers that nobody can guess."""

    def __call__(self, prefix: str) -> str:
        """Return a new identifier: the prefix, then 128 random bits."""


class Tokens(Protocol):
    """Access tokens."""

    async def verify(self, token: object, look: Callable[[], None] = lambda: None) -> Identity:
        """Return whom the token names; raises `EventError` with `ERR_1001`, `ERR_1002` or `ERR_1003`.

        Calls `look` before it verifies a signature, and passes on what that raises. A token that is missing or
        malformed does not get that far. Raises `StoreUnreachableError` while keys or revocations cannot be asked for:
        the same token may be good.
        """


class AuthThrottle(Protocol):
    """Failed authentications, by the salted hash of the address they came from."""

    def look(self, address: bytes) -> None:
        """Count a verification; raises `EventError` `ERR_5004` if a throttled address has used up its verifications."""

    def failed(self, address: bytes, refusal: EventError) -> EventError:
        """Count a failure, and return what to answer: `ERR_5004` instead of the refusal if the address is throttled.

        A missing token is not a failure, nor is one that was not verified.
        """


class Logins(Protocol):
    """How often users log in."""

    def admit(self, user: User, address: bytes) -> None:
        """Count a login; raises `EventError` `ERR_5004` for a user who logs in too often."""


Audited = Literal[
    "authenticated", "renewed", "registered", "superseded", "accepted", "parted", "kicked", "ended", "revoked", "closed"
]
AuditDetail = str | int | bytes | None


class Audit(Protocol):
    """The record of who did what, for those who have to account for it."""

    def note(self, event: Audited, user: User, **details: AuditDetail) -> None:
        """Write down what a user did, or what was done to it; never what anybody said. Waits for nothing.

        A detail in bytes is the salted hash of an address; one of None is left out.
        """


class Socket(Protocol):
    """The client's connection."""

    @property
    def holder(self) -> Holder:
        """How the stores know this socket."""

    @property
    def address(self) -> bytes:
        """Salted hash of where it comes from."""

    @property
    def state(self) -> State:
        """How far it has come."""

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended without a close: its client may be back over another one."""

    @property
    def identity(self) -> Identity:
        """Who it is, once authenticated."""

    @property
    def spoken(self) -> Spoken:
        """What it speaks beyond version 1, once authenticated."""

    def charge(self, events: float) -> None:
        """Take the price of this many events from the client's budget; see `schemas.prices`.

        What the budget does not cover becomes a debt: the events that follow are refused until it is paid.
        """

    def authenticated(self, identity: Identity, spoken: Spoken) -> None:
        """Take the socket to AUTHENTICATED."""

    def renewed(self, identity: Identity) -> None:
        """Go by this token of the user from now on; the client has been told that it is good."""

    def registered(self) -> None:
        """Take the socket to REGISTERED."""

    def send(self, event: ServerEvent, ref: Raw | None = None) -> None:
        """Send an event, in order with all else that goes to this socket; `ref` is that of the event it answers."""

    def close(self, code: CloseCode, reason: str) -> None:
        """Close after what was sent; for the sessions this is a drop."""


class Receipt(Struct):
    """What became of a message, by its receivers' ids: who got it, for whom it is kept, and who had no room for it.

    It is complete once all that is pending is resolved. Of a message that was sent before, `first_sent_at` is when, in
    milliseconds since 1970.
    """

    delivered: tuple[str, ...] = ()
    queued: tuple[str, ...] = ()
    full: tuple[str, ...] = ()
    first_sent_at: int = 0
    pending: int = 0
    completed: Callable[["Receipt"], None] | None = None

    def note(self, user_id: str, appended: Appended) -> None:
        """Note what became of the message for one receiver."""
        self.first_sent_at = self.first_sent_at or appended.first_sent_at
        if appended.outcome is Outcome.DELIVERED:
            self.delivered += (user_id,)
        elif appended.outcome is Outcome.QUEUED:
            self.queued += (user_id,)
        elif appended.outcome is Outcome.FULL:
            self.full += (user_id,)

    def add_pending(self, count: int) -> None:
        """Wait for so many more to be resolved."""
        self.pending += count

    def resolve(self) -> None:
        """Note that it is known of one more receiver what became of the message."""
        self.pending -= 1
        if not self.pending and self.completed is not None:
            completed, self.completed = self.completed, None
            completed(self)

    def on_complete(self, call: Callable[["Receipt"], None]) -> None:
        """Call this once it is complete, which may be now; there can be one such call."""
        if self.pending:
            self.completed = call
        else:
            call(self)


class Delivery(Protocol):
    """The way to other users. Nothing here waits for a receiver."""

    def send(
        self,
        users: Iterable[User],
        event: ServerEvent,
        about: User | None = None,
        *,
        names: Collection[User] = (),
        ref: Raw | None = None,
        receipt: Receipt | None = None,
        key: MessageKey | None = None,
        refused: Callable[[User], None] | None = None,
    ) -> None:
        """Hand the event to each user's socket, or keep it for one who is away; others do not get it.

        `about` is the peer that the event names: a pending presence update of it goes out before, and if it is among
        the users, it does not get the event itself. `names` are peers that it names besides, who do get it. `ref` is
        that of the event that this answers. What becomes of it is written into `receipt`, at once or when the store
        knows. A user to whom a message of this `key` was sent before does not get it again. `refused` is called for
        each user for whom there is no room to keep it. Raises `StoreUnreachableError`, sending nothing to those whom
        it reaches through the store, if too much waits for that already.
        """

    async def admit(self, user: User, socket: Socket) -> str | None:
        """Start anew for a user whose socket has authenticated: what was kept to be resumed is dropped.

        Returns the token to resume with if it speaks `resume`. What comes for it is then kept from now on, numbered
        from 1. Raises `SupersededError` if another socket of the user holds the claim by now.
        """

    async def recover(self, user: User, resume: Resume, socket: Socket) -> str | None:
        """Go on from where the user's last socket left off, if all that came after it is there.

        Returns the next token to resume with; None, changing nothing, if it cannot be done whole.
        """

    def handled(self, user: User, offset: int) -> None:
        """Let go of what the user has handled, up to this offset."""

    async def attach(self, user: User, socket: Socket) -> None:
        """Deliver what was kept for the user, in order, and from now on to this socket."""

    def detach(self, user: User) -> None:
        """Keep what comes for the user from now on, until `attach` or `forget`."""

    def forget(self, user: User) -> None:
        """Drop what was kept and keep nothing more, unless the user has another socket by now."""

    def supersede(self, holder: Holder) -> None:
        """Tell that socket that it was superseded, and close it."""

    def revoke(self, revocation: Revocation) -> list[User]:
        """Close the sockets of this node that a revoked token let in, telling each; return whose they were."""

    def announce(self, peer: Peer) -> None:
        """Tell those who are to know of the peer's new status or profile; soon, joined with other news.

        Of a hidden one who knew of it is told that it is offline.
        """

    def listed(self, user: User, peers: Sequence[User]) -> None:
        """Note which peers a user was shown: it is told of their changes, and has been told of their state."""


class Services(Struct, frozen=True, kw_only=True):
    """What every handler has, whichever socket it serves."""

    stores: Stores
    delivery: Delivery
    tokens: Tokens
    auth_throttle: AuthThrottle
    logins: Logins
    audit: Audit
    clock: Clock
    ids: Ids
    limits: Limits
    version: str
    capabilities: tuple[Capability, ...] = CAPABILITIES
    retries: Retries = field(default_factory=Retries)
