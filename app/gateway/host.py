"""What a connection needs of the gateway that opened it."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from app.admission.limiter import Limiter, Rate
from app.delivery.outbox import WriteScheduler
from app.gateway.dispatch import Dispatcher
from handlers.context import Context
from handlers.ports import Services
from schemas.errors import Limit
from schemas.prices import STRANGER_EVENTS, STRANGER_EVENTS_PER_SECOND

if TYPE_CHECKING:
    from app.gateway.connection import Connection


class End(Struct, frozen=True):
    """Why a connection ended, and whether that is the user's leaving or a drop."""

    code: int
    reason: str
    is_leaving: bool = False


class ConnectionLimits(Struct, frozen=True, kw_only=True):
    """What each connection may use; `max_unauthenticated` is for all of them together."""

    rate: Rate
    outbox_bytes: int
    max_message_bytes: int
    bytes_per_second: int
    max_unauthenticated: int
    heartbeat_seconds: float
    stranger_rate: Rate = Rate(STRANGER_EVENTS_PER_SECOND, STRANGER_EVENTS)


class ConnectionHost(Protocol):
    """What connections share; see `app.gateway.gateway.Gateway`."""

    services: Services
    dispatcher: Dispatcher
    write_scheduler: WriteScheduler
    limits: ConnectionLimits
    monotonic: Callable[[], float]

    def spawn(self, work: Awaitable[None]) -> None:
        """Run something that has to be awaited, in a task of the application."""

    def authenticated(self, connection: "Connection") -> Limiter:
        """Take note that a connection has authenticated; return its user's budget."""

    def renewed(self, connection: "Connection") -> None:
        """Take note that a connection goes by a new token, which the client was told is good."""

    def confirm(self, connection: "Connection") -> None:
        """Take note that the client was heard after it authenticated."""

    def pinged(self, connection: "Connection") -> None:
        """Take note that the client is asked for a sign of life."""

    def ponged(self, connection: "Connection") -> None:
        """Take note that it gave one."""

    def lost(self, connection: "Connection") -> None:
        """Keep what comes for the connection's user from now on."""

    def refused(self, limit: Limit, address: bytes) -> None:
        """Take note that a limit was reached."""

    async def disconnected(self, connection: "Connection", context: Context, end: End) -> None:
        """Do what follows from a connection's end."""
