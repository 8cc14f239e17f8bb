"""Users who come to a node, go, and are sent events, for tests of the logs."""

from collections.abc import Sequence
from itertools import count

import anyio
import anyio.lowlevel

from schemas.events import Kept
from schemas.peers import Profile
from stores.log import Appended, Event, MessageKey, Outcome
from stores.model import Holder, Peer, User
from stores.protocols import Stores

PATIENCE = 10.0
OFTEN = 0.005
PROFILE = Profile(display_name="x", role="guest", ide="vim")
_sockets = count(1)


class Socket:
    """A reader that keeps what it takes; one of version 1 lets go of that as soon as it has it."""

    def __init__(self, stores: Stores, user: User, *, is_version_1: bool = False) -> None:
        self.stores = stores
        self.user = user
        self.holder = Holder(stores.node, next(_sockets))
        self.is_version_1 = is_version_1
        self.is_closed = False
        self.pending = 0
        self.is_lost = False
        self.first: int | None = None
        self.taken: list[tuple[int, bytes]] = []

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.taken]

    def catch_up(self, first: int, payloads: Sequence[bytes]) -> None:
        assert self.first is None
        self.first = first
        self.taken += enumerate(payloads, first)
        if self.is_version_1 and payloads:
            self.stores.log.trim(self.user, first + len(payloads) - 1)

    def take(self, offset: int, event: Event) -> None:
        assert self.first is not None
        if self.is_closed:
            return
        self.taken.append((offset, event.payload))
        if self.is_version_1 and offset:
            self.stores.log.trim(self.user, offset)

    def lost(self) -> None:
        self.is_lost = True

    async def claim(self) -> None:
        """Have the user's claim, and the peer registered."""
        await self.stores.peers.claim(self.user, self.holder)
        peer = Peer(user=self.user, profile=PROFILE, status="online", address=b"a")
        await self.stores.peers.register(peer, self.holder)

    async def come(self, token: str | None = None) -> "Socket":
        """Start the log over, and follow it."""
        self.is_version_1 = token is None
        await self.claim()
        assert await self.stores.log.start(self.user, self.holder, token)
        assert await self.stores.log.follow(self.user, self.holder, None if token is None else 0, self)
        return self

    async def resume(self, used: str, offset: int, token: str) -> bool:
        """Go on with the log, and follow it."""
        await self.claim()
        if not await self.stores.log.resume(self.user, self.holder, used, offset, token):
            return False
        return await self.stores.log.follow(self.user, self.holder, offset, self)

    async def go(self) -> None:
        """Be away."""
        self.stores.log.unfollow(self.user)
        assert await self.stores.peers.release(self.user, self.holder)


def event(
    user: User, payload: bytes | str, kept: Kept = "if_room", request_id: str = "", about: User | None = None
) -> Event:
    return Event(user, payload.encode() if isinstance(payload, str) else payload, kept, about, request_id=request_id)


async def append(stores: Stores, *events: Event, key: MessageKey | None = None) -> list[Appended]:
    """Append events; return what became of each, in their order."""
    found: list[tuple[User, Appended]] = []
    stores.log.append(events, key, lambda user, appended: found.append((user, appended)))
    with anyio.fail_after(PATIENCE):
        while len(found) < len(events):  # noqa: ASYNC110 - an engine brings it about
            await anyio.sleep(OFTEN)
    await anyio.lowlevel.checkpoint()
    of = {user: [appended for whose, appended in found if whose == user] for user, _ in found}
    return [of[each.user].pop(0) for each in events]


async def tell(stores: Stores, user: User, *payloads: str, kept: Kept = "if_room") -> list[Outcome]:
    """Append an event for each of these; return what became of them."""
    return [each.outcome for each in await append(stores, *(event(user, payload, kept) for payload in payloads))]


async def counted(stores: Stores, user: User, wanted: int) -> None:
    """Return once so many events are kept for a user."""
    with anyio.fail_after(PATIENCE):
        while await stores.log.count(user) != wanted:  # noqa: ASYNC110 - an engine brings it about
            await anyio.sleep(OFTEN)


async def settled(socket: Socket) -> None:
    """Return once nothing is on its way to a socket."""
    with anyio.fail_after(PATIENCE):
        while socket.pending:  # noqa: ASYNC110 - see there
            await anyio.sleep(OFTEN)
