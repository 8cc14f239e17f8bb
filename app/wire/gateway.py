"""The gateway: all connections of this node, from the door to the farewell."""

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count

from app.delivery.hub import Hub
from app.delivery.outbox import Flusher
from app.wire.connection import Connection, End
from app.wire.dispatch import Dispatcher, Logger
from app.wire.expiry import Expiry
from app.wire.limiter import Rate
from app.wire.transport import Transport
from handlers import departures
from handlers.ports import Services, State
from handlers.table import Context
from schemas.errors import CloseCode, Error, ErrorCode
from stores.base import Holder, StoreUnreachableError

AUTH_SECONDS = 10.0
HEARTBEAT_PHASES = 10


class Gateway:
    """Opens connections, and looks after those that do not authenticate or do not answer. Knows no event name."""

    def __init__(
        self,
        *,
        node: str,
        salt: bytes,
        services: Services,
        dispatcher: Dispatcher,
        hub: Hub,
        flusher: Flusher,
        connections: dict[int, Connection],
        expiry: Expiry,
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
        self.outbox_bytes = outbox_bytes
        self.max_message_bytes = max_message_bytes
        self.bytes_per_second = bytes_per_second
        self.monotonic = monotonic
        self.spawn = spawn
        self.connections = connections
        self._expiry = expiry
        self._node = node
        self._salt = salt
        self._hub = hub
        self._log = log
        self._max_unauthenticated = max_unauthenticated
        self._phase_seconds = heartbeat / HEARTBEAT_PHASES
        self._phase_at = monotonic()
        self._phase = 0
        self._numbers = count(1)
        self._at_the_door: dict[Connection, float] = {}

    def open(self, transport: Transport, host: str) -> Connection:
        """Take in a new connection from this host; it has ten seconds to authenticate."""
        number = next(self._numbers)
        connection = Connection(self, Holder(self._node, number), transport, self._hash(host))
        self.connections[number] = connection
        self._at_the_door[connection] = self.monotonic()
        if len(self._at_the_door) > self._max_unauthenticated:
            self._make_room()
        self._log.debug("socket opened", socket_id=number)
        return connection

    def let_in(self, connection: Connection) -> None:
        """Take note that a connection has authenticated."""
        self._at_the_door.pop(connection, None)
        self._expiry.watch(connection)
        self._log.info("socket authenticated", socket_id=connection.holder.socket, user_id=connection.identity.user.id)

    def renewed(self, connection: Connection) -> None:
        """Go by the connection's new token, which the client was told is good."""
        self._expiry.look(connection)

    def confirm(self, connection: Connection) -> None:
        """Take note that the client was heard after it authenticated."""
        self._hub.confirm(connection.identity.user)

    def pinged(self, connection: Connection) -> None:
        """Take note that the client is asked for a sign of life."""
        self._hub.pinged(connection.identity.user)

    def ponged(self, connection: Connection) -> None:
        """Take note that it gave one."""
        self._hub.ponged(connection.identity.user)

    def lost(self, connection: Connection) -> None:
        """Keep what comes for the connection's user from now on."""
        self._at_the_door.pop(connection, None)
        self.connections.pop(connection.holder.socket, None)
        self._expiry.forget(connection.holder.socket)
        if connection.state is State.REGISTERED:
            self._hub.lost(connection.identity.user, connection)

    async def farewell(self, connection: Connection, context: Context, end: End) -> None:
        """Do what follows from a connection's end."""
        if connection.state is State.CONNECTED:
            self._log.debug("socket closed", socket_id=connection.holder.socket)
            return
        user_id = connection.identity.user.id
        self._log.info(
            "socket closed",
            socket_id=connection.holder.socket,
            user_id=user_id,
            code=int(end.code),
            is_leaving=end.is_leaving,
        )
        try:
            await (departures.leave if end.is_leaving else departures.drop)(context)
        except StoreUnreachableError as error:
            self._log.warning("store unreachable at a farewell", socket_id=connection.holder.socket, reason=str(error))

    def sweep(self) -> None:
        """Close whoever did not authenticate in time or whose token ran out, and look for dead sockets."""
        self._expiry.sweep()
        now = self.monotonic()
        for connection, opened_at in list(self._at_the_door.items()):
            if now - opened_at < AUTH_SECONDS:
                break
            _turn_away(connection, "No successful AUTH within 10 seconds")
        for _ in range(min(HEARTBEAT_PHASES, int((now - self._phase_at) / self._phase_seconds))):
            self._phase_at = now
            self._beat()

    def by_state(self) -> Counter[str]:
        """Return how many connections are in which state."""
        return Counter(connection.state.name.lower() for connection in self.connections.values())

    def _beat(self) -> None:
        """Ask a tenth of the sockets for a sign of life: each of them once an interval."""
        self._phase = (self._phase + 1) % HEARTBEAT_PHASES
        for number, connection in list(self.connections.items()):
            if number % HEARTBEAT_PHASES == self._phase:
                connection.beat()

    def _make_room(self) -> None:
        """Turn away the oldest waiting socket of the address that has most, so that strangers cannot lock the door."""
        crowd = Counter(connection.address for connection in self._at_the_door).most_common(1)[0][0]
        oldest = next(connection for connection in self._at_the_door if connection.address == crowd)
        _turn_away(oldest, "Too many sockets wait for authentication")

    def _hash(self, host: str) -> bytes:
        return hashlib.blake2b(host.encode(), key=self._salt, digest_size=16).digest()


def _turn_away(connection: Connection, why: str) -> None:
    connection.send(Error(code=ErrorCode.TOKEN_MISSING, message=why))
    connection.close(CloseCode.UNAUTHENTICATED, why)
