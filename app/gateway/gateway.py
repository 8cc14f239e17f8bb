"""The gateway: all connections of this node, from the door to the farewell."""

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count

from msgspec import Struct

from app.admission.addresses import Crowds
from app.admission.allowance import Allowance
from app.admission.debts import Debts
from app.admission.limiter import Limiter, Rate
from app.admission.pending import WaitingRoom
from app.admission.rejections import Refusals
from app.delivery.hub import Hub
from app.delivery.outbox import Flusher
from app.delivery.resumption import Resumption
from app.gateway.connection import Connection, End
from app.gateway.dispatch import Dispatcher
from app.gateway.drain import Drain
from app.gateway.expiry import Expiry
from app.logger import Logger
from app.wire.transport import Transport
from handlers.context import Context
from handlers.domain import disconnects
from handlers.domain.retries import run_each
from handlers.ports import Identity, Services, State
from schemas.errors import CloseCode, Error, ErrorCode, Limit
from schemas.prices import (
    LATEST_SECONDS,
    STRANGER_EVENTS,
    STRANGER_EVENTS_PER_SECOND,
    STRANGER_SOCKETS,
    STRANGER_SOCKETS_PER_SECOND,
)
from stores.model import Holder
from stores.protocols import StoreUnreachableError

AUTH_SECONDS = 10.0
HEARTBEAT_PHASES = 10
FAREWELLS_AT_ONCE = 100
CLOSE_CODES = frozenset(CloseCode)
OTHER = "other"


class Farewell(Struct, frozen=True):
    """The end of a user's socket, of which the store has yet to hear."""

    identity: Identity
    holder: Holder
    is_leaving: bool


class Gateway:
    """Opens connections, and looks after those that do not authenticate or do not answer. Knows no event name."""

    def __init__(
        self,
        *,
        node: str,
        services: Services,
        dispatcher: Dispatcher,
        hub: Hub,
        resumption: Resumption,
        flusher: Flusher,
        connections: dict[int, Connection],
        expiry: Expiry,
        refusals: Refusals,
        rate: Rate,
        outbox_bytes: int,
        max_message_bytes: int,
        bytes_per_second: int,
        max_unauthenticated: int,
        heartbeat: float,
        monotonic: Callable[[], float],
        spawn: Callable[[Awaitable[None]], None],
        log: Logger,
    ) -> None:
        self.services = services
        self.dispatcher = dispatcher
        self.flusher = flusher
        self.rate = rate
        self.stranger_rate = Rate(STRANGER_EVENTS_PER_SECOND, STRANGER_EVENTS)
        self.outbox_bytes = outbox_bytes
        self.max_message_bytes = max_message_bytes
        self.bytes_per_second = bytes_per_second
        self.monotonic = monotonic
        self.spawn = spawn
        self.connections = connections
        self._expiry = expiry
        self._node = node
        self._hub = hub
        self._resumption = resumption
        self._log = log
        self._phase_seconds = heartbeat / HEARTBEAT_PHASES
        self._phase_at = monotonic()
        self._phase = 0
        self._numbers = count(1)
        self._waiting: WaitingRoom[Connection] = WaitingRoom(max_unauthenticated, AUTH_SECONDS)
        self._drain: Drain | None = None
        self._put_off: deque[Farewell] = deque()
        self.crowds = Crowds()
        self.debts = Debts(monotonic)
        self.strangers: Allowance[bytes] = Allowance(
            STRANGER_SOCKETS, STRANGER_SOCKETS_PER_SECOND, monotonic, longest_wait=LATEST_SECONDS
        )
        self.closed = Counter(dict.fromkeys([*map(_closing, CloseCode), OTHER], 0))
        self.refusals = refusals
        self.refused = refusals.note

    def open(self, transport: Transport, address: bytes) -> Connection:
        """Take in a new connection from this address, a salted hash; it has ten seconds to authenticate."""
        number = next(self._numbers)
        connection = Connection(self, Holder(self._node, number), transport, address)
        self.connections[number] = connection
        self.crowds.add(address)
        now = self.monotonic()
        self._waiting.enter(connection, address, now)
        one_too_many = self._waiting.one_too_many(now)
        if one_too_many is not None:
            self._turn_away(one_too_many, Limit.UNAUTHENTICATED, "Too many sockets wait for authentication")
        self._log.debug("socket opened", socket_id=number)
        return connection

    def let_in(self, connection: Connection) -> Limiter:
        """Take note that a connection has authenticated; return its user's budget, with what it still owes."""
        user = connection.identity.user
        self._waiting.leave(connection)
        self._expiry.watch(connection)
        self._log.info("socket authenticated", socket_id=connection.holder.socket, user_id=user.id)
        limiter = Limiter(self.rate)
        limiter.take_over(self.monotonic(), self.debts.take_over(user))
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
        self._waiting.leave(connection)
        if self.connections.pop(connection.holder.socket, None) is not None:
            self.crowds.remove(connection.address)
            self._settle_up(connection)
        self._expiry.forget(connection.holder.socket)
        self._resumption.closed(connection.holder.socket)
        if connection.state is State.REGISTERED:
            self._hub.lost(connection.identity.user, connection)

    def _settle_up(self, connection: Connection) -> None:
        """Put down what a connection that ends still owes."""
        if connection.state is State.CONNECTED:
            self.strangers.charge(connection.address)
        else:
            self.debts.note(connection.identity.user, connection.limiter.used_until)

    async def farewell(self, connection: Connection, context: Context, end: End) -> None:
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
            self._log.warning("store unreachable at a farewell", socket_id=connection.holder.socket, reason=str(error))
            self._put_off.append(Farewell(identity, connection.holder, end.is_leaving))

    async def catch_up(self) -> None:
        """Do what follows from ends that came while the store was away; raises `StoreUnreachableError` if it still is.

        Whoever has another socket by now stays. One that fails is put off again, and keeps no other from its turn.
        """
        if not self._put_off:
            return
        await self.services.stores.ping()
        late = [self._put_off.popleft() for _ in range(min(len(self._put_off), FAREWELLS_AT_ONCE))]
        await run_each(partial(self._catch_up_with, farewell) for farewell in late)

    async def _catch_up_with(self, late: Farewell) -> None:
        try:
            await disconnects.catch_up(late.identity, late.holder, self.services, is_leaving=late.is_leaving)
        except StoreUnreachableError:
            self._put_off.append(late)
            raise

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
        for connection in self._waiting.overdue(now):
            with self._on_its_own(connection):
                self._turn_away(connection, Limit.AUTH_SECONDS, "No successful AUTH within 10 seconds")
        for _ in range(min(HEARTBEAT_PHASES, int((now - self._phase_at) / self._phase_seconds))):
            self._phase_at = now
            self._beat()

    def drain(self, seconds: float) -> Drain:
        """Return what closes all sockets over this time. Those that authenticate meanwhile are told, too."""
        self._drain = Drain(self.connections, seconds, self.monotonic, self._on_its_own)
        return self._drain

    def waiting(self) -> int:
        """Return how many connections have not authenticated."""
        return len(self._waiting)

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
