"""Registration, discovery and presence."""

from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace

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
    metadata: Metadata | None = None

    def shown_to(self, spoken: Spoken) -> "Profile":
        """Return it as a socket that speaks this may see it."""
        return self if self.metadata is None or VERSION_1_1 in spoken else replace(self, metadata=None)


class PeerCard(Struct, frozen=True):
    """A peer as events about it name it."""

    id: str
    profile: Profile

    def shown_to(self, spoken: Spoken) -> "PeerCard":
        """Return it as a socket that speaks this may see it."""
        return replace(self, profile=self.profile.shown_to(spoken))


class PeerEntry(Struct, frozen=True, rename="camel"):
    """A peer as the directory lists it; `connection_mode` is the asker's relation to it."""

    id: str
    profile: Profile
    status: Status
    connection_mode: ConnectionMode

    def shown_to(self, spoken: Spoken) -> "PeerEntry":
        """Return it as a socket that speaks this may see it."""
        profile = self.profile.shown_to(spoken)
        return self if profile is self.profile else replace(self, profile=profile)


class PeerRegister(ClientEvent, frozen=True):
    """Joins the directory, or replaces the profile there; who is hidden can be reached by its id only."""

    example: ClassVar[Example] = {"displayName": "Ann", "ide": "neovim", "role": "host"}
    display_name: DisplayName | None = None
    ide: ChosenIde | None = None
    role: ChosenRole | None = None
    metadata: Metadata | None = None
    visibility: Visibility | None = None


class PeerRegistered(ServerEvent, frozen=True):
    """The peer is in the directory."""

    event: ClassVar[str] = "PEER_REGISTERED"
    is_numbered: ClassVar[bool] = False
    has_variants: ClassVar[bool] = True
    example: ClassVar[Example] = {**ANN, "status": "online"}
    id: str
    profile: Profile
    status: Status

    def variant(self, spoken: Spoken) -> "PeerRegistered":
        """Leave out the metadata for a socket of version 1."""
        return replace(self, profile=self.profile.shown_to(spoken))


class PeerStatus(ClientEvent, frozen=True):
    """Says whether one has time."""

    example: ClassVar[Example] = {"status": "away"}
    status: ChosenStatus


class DiscoverPeers(ClientEvent, frozen=True):
    """Asks who is there; each filter given must match, `query` as a part of the display name in any case.

    `limit` and `cursor` ask for a page at a time; a page has `DIRECTORY_PAGE` peers at most.
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
    """Who is there, in the order of registration; never the asker. `next_cursor` asks for the page after this one."""

    event: ClassVar[str] = "PEERS_LIST"
    is_numbered: ClassVar[bool] = False
    has_variants: ClassVar[bool] = True
    example: ClassVar[Example] = {"peers": [{**BOB, "status": "online", "connectionMode": "REMOTE"}]}
    peers: list[PeerEntry]
    next_cursor: str | None = None

    def variant(self, spoken: Spoken) -> "PeersList":
        """Leave out the metadata for a socket of version 1."""
        return replace(self, peers=[entry.shown_to(spoken) for entry in self.peers])


class PeerStatusUpdate(ServerEvent, frozen=True):
    """A peer came, went or changed."""

    event: ClassVar[str] = "PEER_STATUS_UPDATE"
    is_numbered: ClassVar[bool] = False
    example: ClassVar[Example] = {"id": "ann", "profile": ANN_PROFILE, "status": "away", "connectionMode": "LAN"}
    id: str
    profile: Profile
    status: Status
    connection_mode: ConnectionMode
