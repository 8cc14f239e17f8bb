"""A client of PeerSync Dev Connect: `Peer` is one user at one server. What comes and goes is in `peersync.events`."""

from peersync.backoff import Backoff
from peersync.client import ConnectionLost, Loss, Peer, open_socket
from peersync.errors import ClosedError, DisconnectedError, PeerSyncError, RefusedError, UnreachableError
from peersync.frames import Event, Json

__all__ = [
    "Backoff",
    "ClosedError",
    "ConnectionLost",
    "DisconnectedError",
    "Event",
    "Json",
    "Loss",
    "Peer",
    "PeerSyncError",
    "RefusedError",
    "UnreachableError",
    "open_socket",
]
