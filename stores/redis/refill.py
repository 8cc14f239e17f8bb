"""Filling a store again that has lost something, with what a node knows."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from stores.base import Holder, User
from stores.bus import Home
from stores.memory import MemoryDirectory
from stores.redis import scripts
from stores.redis.client import Client
from stores.redis.replica import Org, Replica
from stores.redis.rows import home_row, json, row

WRITTEN_AT_ONCE = 200
Loss = Literal["emptied", "older", "unknown"]
"""What a node knows of how a store lost something: all is gone, or what this node knew, or others have found it."""


class Record(NamedTuple):
    """What there is in a hash of an org, and how it is told; `is_own` if it is of a user whose home is this node."""

    hash: str
    field: str
    value: bytes
    kind: str
    about: bytes
    is_own: int


async def refill(client: Client, replica: Replica, life: bytes, loss: Loss) -> None:
    """Write what the replica has into the store, which is in a new life, after that loss; see `scripts.REFILL`.

    What was not there yet is told like any change, for a node may just be reading.
    """
    directory = replica.directory
    for org, known in replica.orgs():
        records = list(_records(client.node, directory, org, known))
        placed = max((directory.place(peer.user) for peer in directory.peers(org)), default=0)
        fenced = max((home.fence for home in known.homes.values()), default=0)
        await client.note(org)
        for at in range(0, max(1, len(records)), WRITTEN_AT_ONCE):
            some, is_last = records[at : at + WRITTEN_AT_ONCE], at + WRITTEN_AT_ONCE >= len(records)
            fields = [field for record in some for field in record]
            about = life, loss, int(is_last), known.version, placed, fenced
            await client.change(scripts.REFILL, org, *about, *fields)


def _records(node: str, directory: MemoryDirectory, org: str | None, known: Org) -> Iterator[Record]:
    for peer in directory.peers(org):
        home, written = known.homes.get(peer.user.id), row(peer)
        is_own = int(home is not None and home.node == node)
        told = b"%d,%b" % (directory.place(peer.user), written)
        yield Record("peers", peer.user.id, written, "peer", told, is_own)
    for name, home in known.homes.items():
        yield from _claims(node, directory, User(name, org), home)
    for request_id in known.requests:
        written = row(directory.requests[request_id])
        yield Record("requests", request_id, written, "request", written, 0)
    for session_id in known.sessions:
        written = row(directory.sessions[session_id])
        yield Record("sessions", session_id, written, "session", written, 0)


def _claims(node: str, directory: MemoryDirectory, user: User, home: Home) -> Iterator[Record]:
    peer, is_own = directory.peer(user), int(home.node == node)
    about = json(user.id), json(home.node), json(home.socket), json(home.fence)
    yield Record("homes", user.id, home_row(home), "home", b",".join(about), is_own)
    if home.socket and (peer is None or peer.lapses_at is None):
        yield Record("holders", user.id, row(Holder(home.node, home.socket)), "", home_row(home), is_own)
