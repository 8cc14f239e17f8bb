"""Registration, discovery and presence."""

from typing import Annotated, ClassVar

from msgspec import Struct

from schemas.capabilities import VERSION_1_1, Spoken
from schemas.events import ClientEvent, ServerEvent
from schemas.examples import ANN, ANN_PROFILE, BOB, Example
from schemas.fields import (
    AnyIde,
    AnyRole,
    ChosenIde,
    ChosenRole,
    ChosenStatus,
    ConnectionMode,
    Cursor,
    DisplayName,
    Label,
    Labels,
    Limit,
    Part,
    PublicKey,
    Status,
    Visibility,
)
from schemas.variants import Needs, shown


class Metadata(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a peer tells of its editor and itself, for other clients; the server makes no use of it.

    As encoded, `publicKey` must be at most 4 KiB, and all the rest together 2 KiB. Control characters are refused.
    """

    ide_version: Label | None = None
    extension_version: Label | None = None
    os: Label | None = None
    timezone: Label | None = None
    public_key: PublicKey | None = None
    capabilities: Labels | None = None


class Profile(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a peer shows of itself; its metadata only to sockets of version 1.1, and only if it gave some."""

    display_name: str
    role: AnyRole
    ide: AnyIde
    metadata: Annotated[Metadata | None, Needs(VERSION_1_1)] = None

    def shown_to(self, spoken: Spoken) -> "Profile":
        """Return it as a socket that speaks this may see it."""
        return shown(self, spoken)


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
    """Puts the user into the directory of peers, or replaces its profile there.

    The server first answers `PEER_REGISTERED`, then sends what it kept for the user. A peer with `visibility`
    `hidden` is on no list; only those who know its id can reach it.
    """

    example: ClassVar[Example] = {"displayName": "Ann", "ide": "neovim", "role": "host"}
    display_name: DisplayName | None = None
    ide: ChosenIde | None = None
    role: ChosenRole | None = None
    metadata: Metadata | None = None
    visibility: Visibility | None = None


class PeerRegistered(ServerEvent, frozen=True):
    """Tells the client that its user is in the directory."""

    event: ClassVar[str] = "PEER_REGISTERED"
    is_numbered: ClassVar[bool] = False
    example: ClassVar[Example] = {**ANN, "status": "online"}
    id: str
    profile: Profile
    status: Status


class PeerStatus(ClientEvent, frozen=True):
    """Tells the others whether the user is there, away or busy. It stays so until the user changes it or leaves."""

    example: ClassVar[Example] = {"status": "away"}
    status: ChosenStatus


class DiscoverPeers(ClientEvent, frozen=True):
    """Asks which peers are there. Each filter that is given must match; `query` matches any part of the display name.

    `limit` and `cursor` ask for one page at a time. A page has at most `DIRECTORY_PAGE` peers, and fewer if their
    metadata would exceed the size of a message.
    """

    example: ClassVar[Example] = {"ide": "vscode", "limit": 50}
    role: ChosenRole | None = None
    ide: ChosenIde | None = None
    lan_only: bool | None = None
    status: ChosenStatus | None = None
    query: Part | None = None
    limit: Limit | None = None
    cursor: Cursor | None = None


class PeersList(ServerEvent, frozen=True):
    """Lists the peers that are there, in the order of registration, without the asker.

    `next_cursor` asks for the next page.
    """

    event: ClassVar[str] = "PEERS_LIST"
    is_numbered: ClassVar[bool] = False
    example: ClassVar[Example] = {"peers": [{**BOB, "status": "online", "connectionMode": "REMOTE"}]}
    peers: list[PeerEntry]
    next_cursor: str | None = None


class PeerStatusUpdate(ServerEvent, frozen=True):
    """Tells of a peer that came, left, or changed its status or profile."""

    event: ClassVar[str] = "PEER_STATUS_UPDATE"
    is_numbered: ClassVar[bool] = False
    example: ClassVar[Example] = {"id": "ann", "profile": ANN_PROFILE, "status": "away", "connectionMode": "LAN"}
    id: str
    profile: Profile
    status: Status
    connection_mode: ConnectionMode
