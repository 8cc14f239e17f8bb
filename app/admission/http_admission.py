"""Which HTTP connections and requests are served (docs/protocol.md section 7)."""

from collections.abc import Callable

import msgspec

from app.admission.addresses import Addresses
from app.admission.http_budget import HttpBudget
from app.admission.pending import PendingConnections
from app.admission.rejections import RejectionLog
from app.wire.http import MAX_HEAD_BYTES, HttpProtocol
from schemas.errors import Limit

REQUEST_SECONDS = 10.0
GRACE_SECONDS = 1.0

_MALFORMED = b"400 Bad Request", "BAD_REQUEST", "This is no HTTP request"
_TIMEOUT = b"408 Request Timeout", "REQUEST_TIMEOUT", f"A request has {REQUEST_SECONDS:g} seconds"
_TOO_LARGE = b"431 Request Header Fields Too Large", "HEAD_TOO_LARGE", f"A head has {MAX_HEAD_BYTES} bytes at most"
_TOO_MANY = b"503 Service Unavailable", "TOO_MANY_CONNECTIONS", "Too many connections wait; try again later"


class HttpAdmission:
    """All HTTP connections: `limit` of them beyond their first second, and none for longer than a request may take.

    In that second all may come at once, as they do when a node has restarted, and are read before they are counted.
    """

    def __init__(
        self,
        limit: int,
        budget: HttpBudget,
        addresses: Addresses,
        rejections: RejectionLog,
        monotonic: Callable[[], float],
    ) -> None:
        self._pending: PendingConnections[HttpProtocol] = PendingConnections(limit, REQUEST_SECONDS, GRACE_SECONDS)
        self._budget = budget
        self._addresses = addresses
        self._rejections = rejections
        self._monotonic = monotonic

    def __len__(self) -> int:
        """Return how many connections wait."""
        return len(self._pending)

    def address(self, host: str) -> bytes:
        """Return the salted hash of an address."""
        return self._addresses.hashed(host)

    def enter(self, connection: HttpProtocol) -> None:
        """Await a request."""
        self._pending.add(connection, connection.address, self._monotonic())

    def leave(self, connection: HttpProtocol) -> None:
        """Await none: the connection is gone, or is a socket now."""
        self._pending.remove(connection)

    def too_large(self, connection: HttpProtocol) -> None:
        """Send a connection away whose head does not end."""
        self._refuse(connection, Limit.HTTP_HEAD, *_TOO_LARGE)

    def malformed(self, connection: HttpProtocol) -> None:
        """Send a connection away that does not speak HTTP."""
        self._refuse(connection, Limit.HTTP_MALFORMED, *_MALFORMED)

    def charge(self, connection: HttpProtocol, price: float) -> float:
        """Charge for a request; return 0 if it passes, else the seconds until it would.

        A trusted proxy says which client to charge, so clients behind one proxy do not share a budget.
        """
        host = connection.client[0] if connection.client else ""
        client = self._addresses.client(host, connection.headers)
        address = connection.address if client == host else self.address(client)
        wait = self._budget.charge(address, price)
        if wait:
            self._rejections.note(Limit.HTTP_REQUESTS, address)
        return wait

    def sweep(self) -> None:
        """Send away whoever took too long, and where too many wait, some of the address that has most."""
        now = self._monotonic()
        for connection in self._pending.expired(now):
            self._refuse(connection, Limit.HTTP_SECONDS, *_TIMEOUT)
        self._budget.forget()
        while (to_evict := self._pending.to_evict(now)) is not None:
            self._refuse(to_evict, Limit.HTTP_CONNECTIONS, *_TOO_MANY)

    def _refuse(self, connection: HttpProtocol, limit: Limit, status: bytes, code: str, message: str) -> None:
        self._pending.remove(connection)
        self._rejections.note(limit, connection.address)
        connection.refuse(status, msgspec.json.encode({"code": code, "message": message}))
