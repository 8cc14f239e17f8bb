"""The log: what is kept for one user, in order, until its client has it (docs/protocol.md sections 3 and 8).

A log is an append-only list of events with the offsets 1, 2, 3 ... The engine behind the stores gives the offsets, so
no node can write anything out of order. A user who speaks `resume` has a log from its `AUTH` until its grace is over.
A user of version 1 has one while it is away; events reach its socket directly otherwise.
"""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from hashlib import blake2b
from typing import NamedTuple, Protocol

from msgspec import Raw, Struct
from schemas.events import Kept

from stores.model import Holder, User

RECENT_MESSAGES = 1000
RECENT_SECONDS = 300.0
RESERVED_EVENTS = 1000
DIGEST_BYTES = 8


class Bounds(Struct, frozen=True):
    """How much is kept: events and bytes for one user, and bytes for all users of this engine together."""

    events: int = 1000
    user_bytes: int = 4_194_304
    total_bytes: int = 268_435_456


class Event(Struct, frozen=True, gc=False):
    """An event for one user: the encoded frame without its `offset`.

    `about` and `names` are the peers that it names. Their pending presence updates go out before it. `kept` says how
    the event is kept while the user is away, and `request_id` which request it tells of. `ref` is for the socket that
    the event answers, and is not kept.
    """

    user: User
    payload: bytes
    kept: Kept = "always"
    about: User | None = None
    names: tuple[User, ...] = ()
    request_id: str = ""
    ref: Raw | None = None


class MessageKey(Struct, frozen=True, gc=False):
    """How a message that is sent again is recognised. `sent_at` is in milliseconds since 1970.

    `stream` stands for the sender and the session, `digest` for the message. Both are hashes of `DIGEST_BYTES`.
    """

    stream: bytes
    digest: bytes
    sent_at: int

    @classmethod
    def of(cls, session_id: str, sender: User, message_id: str, sent_at: int) -> "MessageKey":
        """Return the key of a message to which its sender gave an id."""
        stream = _digest(session_id, sender.org or "", sender.id)
        return cls(stream, _digest(session_id, sender.org or "", sender.id, message_id), sent_at)


class Outcome(Enum):
    """What became of an event that was appended.

    DELIVERED: a socket of the user gets it, or has got it. QUEUED: it is kept for the user's return. FULL: there was no
    room for it in the log of a user who is away. OVERFLOWED: the same for a user of version 1, whose absence ends by
    that. DROPPED: nothing is kept for such a user, or there was nothing to tell.
    """

    DELIVERED = auto()
    QUEUED = auto()
    FULL = auto()
    OVERFLOWED = auto()
    DROPPED = auto()


class Appended(NamedTuple):
    """What became of an event. A message that was appended before has in `first_sent_at` when, in milliseconds."""

    outcome: Outcome
    first_sent_at: int = 0


Done = Callable[[User, Appended], None]


class Reader(Protocol):
    """A socket that takes a user's events as they are appended; each once, and in order.

    `pending` is how many events the engine has on their way to it: it adds to that and takes from it. While there are
    any, nothing may reach the socket around the log.
    """

    pending: int

    def catch_up(self, first: int, payloads: Sequence[bytes]) -> None:
        """Take what was kept, called once before anything else; the first of `payloads` has the offset `first`."""

    def take(self, offset: int, event: Event) -> None:
        """Take the next event."""

    def lost(self) -> None:
        """Close the socket, to start over: the engine has lost, or let go of, an event that it did not get."""


class Log(Protocol):
    """The logs of all users. Methods that wait raise `StoreUnreachableError` while the engine cannot be asked."""

    def append(self, events: Sequence[Event], key: MessageKey | None = None, done: Done | None = None) -> None:
        """Append the events, each to the log of its user, in order with what was appended before.

        Never waits. `done` is called once for each event as soon as the engine has it, which may be during this call.
        A message with a `key` that a user's log has had within `RECENT_SECONDS` is not appended to that log again; of
        each `stream` the last `RECENT_MESSAGES` are recognised. Raises `StoreUnreachableError`, appending nothing, if
        too much waits for the engine already.
        """

    async def start(self, user: User, holder: Holder, token: str | None) -> bool:
        """Start the user's log over, from offset 1, for a socket that holds the user's claim.

        `token` is what it can be resumed with; None for a socket of version 1, for which events that were kept without
        a token stay. False, changing nothing, if another socket holds the claim by now.
        """

    async def resume(self, user: User, holder: Holder, used: str, offset: int, token: str) -> bool:
        """Go on after `offset` for a socket that holds the user's claim, if all that came after is there.

        `used` is the token that the client has, `token` the next one. Both are good until `confirm`, and so is the
        token that was given to another socket shortly before. False, changing
        nothing, if the log was lost, let go of some of it, never came as far, or does not know the token.
        """

    async def follow(self, user: User, holder: Holder, offset: int | None, reader: Reader) -> bool:
        """Hand the reader what is kept after `offset`, None for all that is kept, and then what is appended.

        This goes on until another reader follows the user, the claim ends, or `unfollow`. False if some of it is not
        there any more. A socket that does not hold the claim gets nothing; it is closed as one that was superseded.
        """

    def unfollow(self, user: User) -> None:
        """Hand events to the user's reader no more: its socket is gone."""

    def confirm(self, user: User) -> None:
        """Forget the tokens of the user that are older than the latest one: its client has that for sure."""

    def trim(self, user: User, offset: int) -> None:
        """Let go of the user's events up to this offset: its client has them. May be done a little later."""

    def forget(self, user: User) -> None:
        """Drop the user's log."""

    async def count(self, user: User) -> int:
        """Return how many events are kept for the user."""

    def forget_old(self, now: float) -> None:
        """Forget message keys older than `RECENT_SECONDS`; `now` is in seconds since 1970. Called now and then."""

    def stats(self) -> dict[str, float]:
        """Return what this node knows of its logs, for metrics: `logs`, `log_bytes`, `message_keys`, at least."""


def _digest(*parts: str) -> bytes:
    """Return a hash of the parts, each of which counts with its length."""
    found = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        found.update(len(encoded).to_bytes(4, "big") + encoded)
    return found.digest()
