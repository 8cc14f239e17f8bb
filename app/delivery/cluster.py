"""What a node has to do with others: nothing of it is there where the store is of one process."""

from collections.abc import Callable

from msgspec import Struct

from app.delivery.ledger import Ledger
from app.delivery.marks import Recognition
from app.delivery.relay import Relay
from stores.bus import Bus


class Cluster(Struct, frozen=True):
    """The way to other nodes, what is written for them, and by what messages are recognised that come again."""

    relay: Relay
    ledger: Ledger
    recognition: Recognition

    def sizes(self) -> dict[str, int]:
        """Return how many messages are not confirmed, and of how many users marks are known."""
        return {"unconfirmed": self.relay.waiting, "marks": len(self.recognition.users)}


def cluster(bus: Bus | None, monotonic: Callable[[], float]) -> Cluster | None:
    """Return what belongs to this bus."""
    if bus is None:
        return None
    relay = Relay(bus, monotonic)
    return Cluster(relay, Ledger(bus, relay), Recognition())
