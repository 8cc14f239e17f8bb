"""What the tests of the Redis stores share."""

from schemas.peers import Profile
from stores.model import Holder, Peer, Revocation, User
from stores.protocols import Listener
from stores.redis.stores import RedisStores

ANN, BOB, CAT = User("ann"), User("bob", "acme"), User("cat")


class Heard(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.changed: list[tuple[Peer | None, Peer | None]] = []
        self.revocations: list[Revocation] = []
        self.orphans: list[Peer] = []
        self.resyncs = 0

    def peer_changed(self, before: Peer | None, after: Peer | None) -> None:
        self.changed.append((before, after))

    def revoked(self, revocation: Revocation) -> None:
        self.revocations.append(revocation)

    def orphaned(self, peer: Peer) -> None:
        self.orphans.append(peer)

    def resynced(self) -> None:
        self.resyncs += 1


def listen(node: RedisStores) -> Heard:
    """Return what a node is told from now on."""
    node.listener = heard = Heard()
    return heard


def peer(user: User, node: str = "one", lapses_at: float | None = None) -> Peer:
    return Peer(user, Profile("x", "guest", "vim"), "online", b"a", lapses_at, holder=Holder(node, 1))


async def put(node: RedisStores, changed: Peer) -> None:
    """Have a peer as given."""
    assert changed.holder is not None
    await node.peers.claim(changed.user, changed.holder)
    assert await node.peers.register(changed, changed.holder)
    await node.peers.release(changed.user, changed.holder)
