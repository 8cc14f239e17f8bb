"""The bodies of HTTP responses, for the contract."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from schemas.errors import ErrorCode
from schemas.fields import AnyIde, AnyRole, Role, Status


class Live(Struct, frozen=True):
    """The event loop runs."""

    status: Literal["ok"]


class Ready(Struct, frozen=True):
    """The node is ready for traffic."""

    status: Literal["ready"]


class Unavailable(Struct, frozen=True):
    """The node is not ready for traffic, for these reasons."""

    status: Literal["unavailable"]
    reasons: list[str]
    code: ErrorCode
    message: str


class PublicKey(Struct, frozen=True, rename="camel"):
    """The key that verifies access tokens, as PEM."""

    public_key: str


class Jwk(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A public key (RFC 7517); `kid` is its thumbprint (RFC 7638).

    An RSA key has `n` and `e`; an elliptic-curve key `crv`, `x` and `y`; an Ed25519 key (`OKP`) `crv` and `x`.
    """

    kty: Literal["RSA", "EC", "OKP"]
    kid: str
    use: Literal["sig"]
    alg: Literal["RS256", "ES256", "EdDSA"]
    n: str | None = None
    e: str | None = None
    crv: Literal["P-256", "Ed25519"] | None = None
    x: str | None = None
    y: str | None = None


class Jwks(Struct, frozen=True):
    """A JWK set."""

    keys: list[Jwk]


class Bearer(Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The user that a token names."""

    user_id: str
    display_name: str
    email: str | None = None
    roles: list[str]


class Token(Struct, frozen=True, rename="camel"):
    """An access token and its lifetime, which is the setting `JWT_EXPIRATION` as written there."""

    token: str
    expires_in: Annotated[str, Meta(examples=["1h"])]


class OverviewCounts(Struct, frozen=True):
    """Counts: sockets of this node; peers (also disconnected ones), sessions and pending requests of all nodes."""

    sockets: int
    peers: int
    sessions: int
    requests: int


class OverviewPeer(Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A peer in the overview.

    `connected` is false while the server waits for the peer to reconnect. `sessions` is how many sessions it is in.
    Only the node that the peer is or was connected to knows its `capabilities` and how many events are `kept` for it.
    """

    id: str
    org: str | None = None
    display_name: str
    ide: AnyIde
    role: AnyRole
    status: Status
    hidden: bool
    connected: bool
    capabilities: list[str]
    sessions: int
    kept: int


class OverviewParticipant(Struct, frozen=True):
    """A session's participant; `connected` is false while the server waits for it to reconnect."""

    id: str
    role: Role
    connected: bool


class OverviewSession(Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A session in the overview, with its participants in the order in which they joined."""

    session_id: str
    org: str | None = None
    host_id: str
    participants: list[OverviewParticipant]


class Overview(Struct, frozen=True, kw_only=True):
    """Counts for all orgs together, and the newest peers and sessions."""

    version: str
    draining: bool
    counts: OverviewCounts
    peers: list[OverviewPeer]
    sessions: list[OverviewSession]


class Revoked(Struct, frozen=True, rename="camel"):
    """How many sockets were closed at once, and until when the server keeps the revocation (ISO 8601)."""

    closed_sockets: int
    kept_until: str


class GuidePage(Struct, frozen=True):
    """A page of the guide: `/docs/guide/{name}.md`."""

    name: str
    title: str


class Guide(Struct, frozen=True):
    """The pages of the guide, in the order of reading."""

    pages: list[GuidePage]
