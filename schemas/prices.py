"""What a client pays for what it sends: the price list (docs/protocol.md sections 2 to 4, SECURITY.md).

The currency is the event: a socket earns `RATE_LIMIT_EVENTS_PER_SECOND` of them and saves up to `RATE_LIMIT_BURST`. A
price is taken from that one budget before the work is done. What a saving does not cover becomes a debt: until it is
paid, the socket's events are refused with `ERR_5004`. A debt follows its user to the next socket.
"""

from msgspec import Struct

SURROGATES_PER_EVENT = 200
PEERS_PER_EVENT = 50
RECEIVERS_PER_EVENT = 8
BYTES_OUT_PER_EVENT = 65_536
STRANGER_EVENTS = 32
STRANGER_BYTES_PER_SECOND = 16_384
BROADCASTS_PER_SECOND = 4
BROADCAST_BYTES_PER_SECOND = 262_144


class Price(Struct, frozen=True):
    """One line of the price list: what is paid for, how much, and from which budget it is taken."""

    what: str
    price: str
    budget: str


SOCKET = "the socket's events"
PRICES = (
    Price("a text or binary message", "1 event", SOCKET),
    Price("a ping, a pong, a fragment that is not the last", "1 event", SOCKET),
)
