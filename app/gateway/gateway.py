"""The gateway: opens the connections of this node, and looks after them until their end."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

from msgspec import Struct

from app.admission.admission import Admission
from app.admission.limiter import Limiter
from app.admission.pending import PendingConnections
from app.delivery.hub import Hub
from app.delivery.outbox import WriteScheduler
from app.delivery.resumption import Resumption
from app.gateway.connection import Connection
from app.gateway.disconnects import PendingDisconnect, PendingDisconnects
from app.gateway.dispatch import Dispatcher
from app.gateway.drain import Drain
from app.gateway.expiry import Expiry
from app.gateway.host import ConnectionLimits, End
from app.logger import Logger
from app.wire.transport import Transport
from handlers.context import Context
from handlers.domain import disconnects
from handlers.ports import Services, State
from schemas.errors import CloseCode, Error, ErrorCode, Limit
from stores.model import Holder
from stores.protocols import StoreUnreachableError

AUTH_SECONDS = 10.0
HEARTBEAT_PHASES = 10
CLOSE_CODES = frozenset(CloseCode)
OTHER = "other"


class GatewayParts(Struct, frozen=True, kw_only=True):
    """What the gateway works with. `connections` are the open ones, by their numbers."""

    services: Services
    admission: Admission
    dispatcher: Dispatcher
    hub: Hub
    resumption: Resumption
    write_scheduler: WriteScheduler
    connections: dict[int, Connection]
    expiry: Expiry
    log: Logger


class Gateway:
    """See the module. `spawn` runs work in a task of the application."""

    def __init__(
        self,
        parts: GatewayParts,
        limits: ConnectionLimits,
        *,
        monotonic: Callable[[], float],
        spawn: Callable[[Awaitable[None]], None],
    ) -> None:
        self.services = parts.services
        self.dispatcher = parts.dispatcher
        self.write_scheduler = parts.write_scheduler
        self.connections = parts.connections
        self.limits = limits
        self.monotonic = monotonic
        self.spawn = spawn
        self.refused = parts.admission.rejections.note
        self._admission = parts.admission
        self._hub = parts.hub
        self._resumption = parts.resumption
        self._expiry = parts.expiry
        self._log = parts.log
        self._phase_seconds = limits.heartbeat_seconds / HEARTBEAT_PHASES
        self._phase_at = monotonic()
        self._phase = 0
        self._numbers = count(1)
        self._unauthenticated: PendingConnections[Connection] = PendingConnections(
            limits.max_unauthenticated, AUTH_SECONDS
        )
        self._drain: Drain | None = None
        self.disconnects = PendingDisconnects(parts.services)
        self.closed = Counter(dict.fromkeys([*map(_closing, CloseCode), OTHER], 0))

    def open(self, transport: Transport, address: bytes) -> Connection:
        """Take in a new connection from this address, a salted hash; it has ten seconds to authenticate."""
        number = next(self._numbers)
        connection = Connection(self, Holder(self.services.stores.node, number), transport, address)
        self.connections[number] = connection
        self._admission.connection_counts.add(address)
        now = self.monotonic()
        self._unauthenticated.add(connection, address, now)
        evicted = self._unauthenticated.to_evict(now)
        if evicted is not None:
            self._turn_away(evicted, Limit.UNAUTHENTICATED, "Too many sockets wait for authentication")
        self._log.debug("socket opened", socket_id=number)
        return connection

    def authenticated(self, connection: Connection) -> Limiter:
        """Take note that a connection has authenticated; return its user's budget, with what it still owes."""
        user = connection.identity.user
        self._unauthenticated.remove(connection)
        self._expiry.watch(connection)
        self._log.info("socket authenticated", socket_id=connection.holder.socket, user_id=user.id)
        limiter = Limiter(self.limits.rate)
        limiter.take_over(self.monotonic(), self._admission.debts.take_over(user))
        return limiter

    def renewed(self, connection: Connection) -> None:
        """Go by the connection's new token, which the client was told is good; tell it if the node is to stop."""
        self._expiry.look(connection)
        if self._drain is not None:
            self._drain.tell(connection)

    def confirm(self, connection: Connection) -> None:
        """Take note that the client was heard after it authenticated."""
        self._resumption.confirm(connection.identity.user)

    def pinged(self, connection: Connection) -> None:
        """Take note that the client is asked for a sign of life."""
        self._resumption.pinged(connection.identity.user)

    def ponged(self, connection: Connection) -> None:
        """Take note that it gave one."""
        self._resumption.ponged(connection.identity.user)

    def lost(self, connection: Connection) -> None:
        """Keep what comes for the connection's user from now on."""
        self._unauthenticated.remove(connection)
        if self.connections.pop(connection.holder.socket, None) is not None:
            self._admission.connection_counts.remove(connection.address)
            self._settle_up(connection)
        self._expiry.forget(connection.holder.socket)
        self._resumption.closed(connection.holder.socket)
        if connection.state is State.REGISTERED:
            self._hub.lost(connection.identity.user, connection)

    def _settle_up(self, connection: Connection) -> None:
        """Put down what a connection that ends still owes."""
        if connection.state is State.CONNECTED:
            self._admission.strangers.charge(connection.address)
        else:
            self._admission.debts.note(connection.identity.user, connection.limiter.used_until)

    async def disconnected(self, connection: Connection, context: Context, end: End) -> None:
        """Do what follows from a connection's end."""
        self.closed[_closing(end.code)] += 1
        if connection.state is State.CONNECTED:
            self._log.debug("socket closed", socket_id=connection.holder.socket)
            return
        identity, number = connection.identity, connection.holder.socket
        self._log.info(
            "socket closed",
            socket_id=number,
            user_id=identity.user.id,
            code=int(end.code),
            is_leaving=end.is_leaving,
        )
        self.services.audit.note(
            "closed",
            identity.user,
            token_id=identity.token_id,
            socket_id=number,
            code=int(end.code),
            reason=end.reason or None,
        )
        try:
            await (disconnects.leave if end.is_leaving else disconnects.drop)(context)
        except StoreUnreachableError as error:
            self._log.warning(
                "store unreachable at a disconnect", socket_id=connection.holder.socket, reason=str(error)
            )
            self.disconnects.add(PendingDisconnect(identity, connection.holder, end.is_leaving))

    async def recheck_tokens(self) -> None:
        """Close sockets whose tokens were revoked while this node could not hear of it; see `Listener.resynced`."""
        with suppress(StoreUnreachableError):  # then it is not caught up, and asks again once it is
            for connection in list(self.connections.values()):
                if connection.state > State.CONNECTED:
                    await disconnects.recheck(connection.identity, self.services)

    def sweep(self) -> None:
        """Close whoever did not authenticate in time or whose token ran out, and look for dead sockets."""
        self._expiry.sweep()
        now = self.monotonic()
        for connection in self._unauthenticated.expired(now):
            with self._on_its_own(connection):
                self._turn_away(connection, Limit.AUTH_SECONDS, "No successful AUTH within 10 seconds")
        for _ in range(min(HEARTBEAT_PHASES, int((now - self._phase_at) / self._phase_seconds))):
            self._phase_at = now
            self._beat()

    def drain(self, seconds: float) -> Drain:
        """Return what closes all sockets over this time. Those that authenticate meanwhile are told, too."""
        self._drain = Drain(self.connections, seconds, self.monotonic, self._on_its_own)
        return self._drain

    def unauthenticated(self) -> int:
        """Return how many connections have not authenticated."""
        return len(self._unauthenticated)

    def expiries(self) -> int:
        """Return how many connections are closed when their token runs out."""
        return len(self._expiry)

    def by_state(self) -> Counter[str]:
        """Return how many connections are in which state."""
        return Counter(connection.state.name.lower() for connection in self.connections.values())

    def _beat(self) -> None:
        """Ask a tenth of the sockets for a sign of life: each of them once an interval."""
        self._phase = (self._phase + 1) % HEARTBEAT_PHASES
        for number, connection in list(self.connections.items()):
            if number % HEARTBEAT_PHASES == self._phase:
                with self._on_its_own(connection):
                    connection.beat()

    @contextmanager
    def _on_its_own(self, connection: Connection) -> Iterator[None]:
        """Log what goes wrong with one connection: it must not keep the others from being looked after."""
        try:
            yield
        except Exception:  # noqa: BLE001 - as above
            self._log.exception("looking after a socket failed", socket_id=connection.holder.socket)

    def _turn_away(self, connection: Connection, limit: Limit, why: str) -> None:
        self.refused(limit, connection.address)
        connection.send(Error(code=ErrorCode.TOKEN_MISSING, message=why))
        connection.close(CloseCode.UNAUTHENTICATED, why)


def _closing(code: int) -> str:
    """Return a close code as metrics name it; clients may make up any."""
    return str(int(code)) if code in CLOSE_CODES else OTHER
