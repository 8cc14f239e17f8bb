"""The context: what a handler is called with besides its event."""

from msgspec import Raw
from schemas.errors import Error, ErrorCode
from schemas.events import ServerEvent
from stores.model import User
from stores.protocols import Directory, Stores

from handlers.ports import Clock, Delivery, Ids, Limits, Services, Socket, Tokens


class Context:
    """What a handler may use: the services all share, and the socket its event came over."""

    __slots__ = (
        "clock",
        "delivery",
        "directory",
        "ids",
        "limits",
        "ref",
        "services",
        "socket",
        "stores",
        "tokens",
        "user",
    )

    user: User
    """Whose socket it is; there once the socket is authenticated."""

    def __init__(self, services: Services, socket: Socket) -> None:
        self.services = services
        self.socket = socket
        self.ref: Raw | None = None
        self.stores: Stores = services.stores
        self.directory: Directory = services.stores.directory
        self.delivery: Delivery = services.delivery
        self.tokens: Tokens = services.tokens
        self.clock: Clock = services.clock
        self.ids: Ids = services.ids
        self.limits: Limits = services.limits

    def send(self, user: User, event: ServerEvent) -> None:
        """Send an event that names this socket's user to another user."""
        self.delivery.send((user,), event, about=self.user)

    def answer(self, event: ServerEvent) -> None:
        """Answer the event being handled; the answer carries its `ref`. A handler that returns its answer need not."""
        self.socket.send(event, self.take_ref())

    def tell_full(self, user: User) -> None:
        """Tell this socket's client that what it sent is not kept for a user who is away."""
        self.socket.send(log_full(user))

    def take_ref(self) -> Raw | None:
        """Return the `ref` of the event being handled, for the one who answers it; None if it has none."""
        ref, self.ref = self.ref, None
        return ref


def log_full(user: User) -> Error:
    """Return the error that tells so."""
    return Error(code=ErrorCode.LOG_FULL, message=f"No more is kept for {user.id!r}, who is away")
