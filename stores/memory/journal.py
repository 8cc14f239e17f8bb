"""The journal: what the engine of a single process writes down, so that a restart finds it."""

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from stores.log import MessageKey
from stores.model import Peer, Request, Revocation, Session, User

Kind = Literal["peer", "request", "session", "revocation"]
Record = Peer | Request | Session | Revocation


class LogHeader(Struct, frozen=True):
    """What is known of a log besides its events: hashes of its tokens, the requests told, and whether it is broken.

    `trimmed` is the last offset that is not kept any more.
    """

    tokens: tuple[bytes, ...] = ()
    trimmed: int = 0
    told: tuple[str, ...] = ()
    is_broken: bool = False


class Journal:
    """Takes note of changes, in order. What one turn of the event loop changes is committed together.

    `is_instant` says that nothing is ever waited for. This one writes nothing.
    """

    is_instant = True

    def check(self) -> None:
        """Raise `StoreUnreachableError` while nothing can be written, so that the change is not begun."""

    def put(self, kind: Kind, key: str, record: Record, place: int = 0) -> None:
        """Note a record that was added or replaced; a peer has a place in the order of registration."""

    def delete(self, kind: Kind, key: str) -> None:
        """Note that a record is gone."""

    def open(self, user: User, header: LogHeader) -> None:
        """Note what is known of a user's log, besides its events."""

    def append(self, user: User, offset: int, payload: bytes) -> None:
        """Note an event."""

    def trim(self, user: User, offset: int) -> None:
        """Note that a user's events up to this offset are gone. May be written a little later."""

    def forget(self, user: User) -> None:
        """Note that a user's log is gone."""

    def remember(self, key: MessageKey, users: list[User]) -> None:
        """Note a message key for as long as it is recognised, and the users who have the message.

        `users` is complete by the end of this turn of the event loop.
        """

    def then(self, call: Callable[[], None]) -> None:
        """Call this once all that was noted by now is committed, in order with other such calls."""
        call()

    async def committed(self) -> None:
        """Return once all that was noted by now is committed.

        Raises `StoreUnreachableError` if that fails or takes long; it is committed later then.
        """
