"""What a client pays for what it sends: the price list, and the budgets that the prices are taken from.

The currency of a socket is the event: it earns `RATE_LIMIT_EVENTS_PER_SECOND` of them and saves up to
`RATE_LIMIT_BURST`. A price is taken before the work is done, or right after where only the work shows how large it
is. What the savings do not cover becomes a debt: until it is paid, events are refused with `ERR_5004`
(docs/protocol.md section 4). A debt follows its user to the next socket. `SECURITY.md` has this list, too.
"""

from msgspec import Struct

PEERS_PER_EVENT = 25
SEARCHED_PER_EVENT = 1000
PARTICIPANTS_PER_EVENT = 256
SURROGATES_PER_EVENT = 200
STRANGER_EVENTS = 32
STRANGER_EVENTS_PER_SECOND = 1
STRANGER_BYTES_PER_SECOND = 16_384
STRANGER_SOCKETS = 200
STRANGER_SOCKETS_PER_SECOND = 10
LATEST_SECONDS = 2
LOGINS = 1000
LOGINS_PER_SECOND = 20
HTTP_BURST_SECONDS = 4
BROADCASTS_PER_SECOND = 4
BROADCAST_BYTES_PER_SECOND = 262_144


class Price(Struct, frozen=True):
    """One line of the price list: what costs something, its price, and the budget it is taken from."""

    what: str
    price: str
    budget: str


SOCKET = "events of the socket"
PRICES = (
    Price("a text or binary message", "1 event", SOCKET),
    Price("a ping, a fragment that is not the last, an unsolicited pong", "1 event", SOCKET),
    Price("an event beyond the budget", "1/2 event, and 1/8000 s in which nothing is read", SOCKET),
    Price("escaped surrogates, in a frame with a lone one", f"1 event per {SURROGATES_PER_EVENT}", SOCKET),
    Price("peers in a PEERS_LIST", f"1 event per {PEERS_PER_EVENT}", SOCKET),
    Price("peers searched for a PEERS_LIST", f"1 event per {SEARCHED_PER_EVENT}", SOCKET),
    Price(
        "participants shown to those in a session when it changes",
        f"1 event per {PARTICIPANTS_PER_EVENT}, counted for each who sees them",
        SOCKET,
    ),
    Price(
        "any of these before AUTH",
        "the same",
        f"{STRANGER_EVENTS} events, and {STRANGER_EVENTS_PER_SECOND} a second; beyond that it is closed with 4029",
    ),
    Price("a byte after AUTH", "1 byte", "`RATE_LIMIT_BYTES_PER_SECOND`; beyond that reading pauses"),
    Price(
        "a byte before AUTH",
        "1 byte",
        f"64 KiB, and {STRANGER_BYTES_PER_SECOND // 1024} KiB a second; beyond that reading pauses",
    ),
    Price(
        "a socket that ends before AUTH",
        "1 socket",
        f"{STRANGER_SOCKETS} of an address, and {STRANGER_SOCKETS_PER_SECOND} a second; beyond that its next"
        f" sockets are let in up to {LATEST_SECONDS} s late",
    ),
    Price(
        "an AUTH that lets a socket in",
        "1 login",
        f"{LOGINS} of a user, and {LOGINS_PER_SECOND} a second; beyond that the new socket is closed with 4029",
    ),
    Price(
        "a change of one's status or profile",
        f"1/{BROADCASTS_PER_SECOND} s, or its bytes to all others if that is longer",
        f"{BROADCAST_BYTES_PER_SECOND // 1024} KiB a second; beyond that it is told later, the latest winning",
    ),
    Price(
        "a request over HTTP",
        "1 request; more for expensive ones (`price` in `app/rest/endpoints.py`)",
        f"`HTTP_REQUESTS_PER_SECOND` of an address, saved up for {HTTP_BURST_SECONDS} s; beyond that 429",
    ),
    Price("a failed authentication", "1 failure", "`AUTH_FAILURES_PER_MINUTE` of an address"),
)
