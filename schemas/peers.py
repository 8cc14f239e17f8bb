"""Registration, discovery and presence."""

from typing import ClassVar

from msgspec import Struct

from schemas.events import ClientEvent, ServerEvent
from schemas.fields import ConnectionMode, DisplayName, Ide, Role, Status


class Profile(Struct, frozen=True, rename="camel"):
    """What a peer shows of itself."""

    display_name: str
    role: Role
    ide: Ide


class PeerCard(Struct, frozen=True):
    """A peer as events about it name it."""

    id: str
    profile: Profile


class PeerEntry(Struct, frozen=True, rename="camel"):
    """A peer as the directory lists it; `connection_mode` is the asker's relation to it."""

    id: str
    profile: Profile
    status: Status
    connection_mode: ConnectionMode


class PeerRegister(ClientEvent, frozen=True):
    """Joins the directory, or replaces the profile there."""

    display_name: DisplayName | None = None
    ide: Ide | None = None
    role: Role | None = None


class PeerRegistered(ServerEvent, frozen=True):
    """The peer is in the directory."""

    event: ClassVar[str] = "PEER_REGISTERED"
    id: str
    profile: Profile
    status: Status


class DiscoverPeers(ClientEvent, frozen=True):
    """Asks who is there; each filter given must match."""

    role: Role | None = None
    ide: Ide | None = None
    lan_only: bool | None = None


class PeersList(ServerEvent, frozen=True):
    """Who is there, in the order of registration; never the asker."""

    event: ClassVar[str] = "PEERS_LIST"
    peers: list[PeerEntry]


class PeerStatusUpdate(ServerEvent, frozen=True):
    """A peer came, went or changed."""

    event: ClassVar[str] = "PEER_STATUS_UPDATE"
    id: str
    profile: Profile
    status: Status
    connection_mode: ConnectionMode
