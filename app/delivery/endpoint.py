"""An endpoint: a socket as delivery knows it."""

from typing import Protocol

from app.delivery.outbox import Outbox
from schemas.capabilities import Spoken
from schemas.errors import CloseCode
from stores.model import Holder, Revocation, User


class Endpoint(Protocol):
    """A live socket of this node."""

    outbox: Outbox
    spoken: Spoken

    @property
    def holder(self) -> Holder:
        """How the stores know this socket."""

    @property
    def address(self) -> bytes:
        """Salted hash of where it comes from."""

    def supersede(self) -> None:
        """Tell the client that another socket took its place, and close."""

    def revoke(self, revocation: Revocation) -> User | None:
        """Tell the client that its token was revoked, and close, if it was; return whose socket that was."""

    def close(self, code: CloseCode, reason: str) -> None:
        """Close; for the sessions this is a drop."""
