"""What REST answers, for the contract; the names of fields are those on the wire."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from schemas.errors import ErrorCode
from schemas.fields import AnyIde, AnyRole, Role, Status


class Live(Struct, frozen=True):
    """The event loop turns."""

    status: Literal["ok"]


class Ready(Struct, frozen=True):
    """Traffic should come here."""

    status: Literal["ready"]


class Unavailable(Struct, frozen=True):
    """Traffic should not come here, and why."""

    status: Literal["unavailable"]
    reasons: list[str]
    code: ErrorCode
    message: str


class PublicKey(Struct, frozen=True, rename="camel"):
    """The key that access tokens are verified with, as PEM."""

    public_key: str


class Jwk(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A public key (RFC 7517); `kid` is its thumbprint (RFC 7638).

    An RSA key has `n` and `e`, an elliptic key `crv`, `x` and `y`, an Ed25519 key (`OKP`) `crv` and `x`.
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
    """A set of keys."""

    keys: list[Jwk]


class Bearer(Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Whom a token names."""

    user_id: str
    display_name: str
    email: str | None = None
    roles: list[str]


class Token(Struct, frozen=True, rename="camel"):
    """An access token, and for how long it is good: the setting `JWT_EXPIRATION` as it was written."""

    token: str
    expires_in: Annotated[str, Meta(examples=["1h"])]


class OverviewCounts(Struct, frozen=True):
    """How many there are: sockets of this node; peers here or away, sessions and pending requests of all."""

    sockets: int
    peers: int
    sessions: int
    requests: int


class SeenPeer(Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A peer as an operator sees it.

    `connected` is false while its return is waited for; `sessions` says in how many it is. What it speaks, and how many
    events are `kept` for it, only the node knows that it is connected to, or was.
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


class SeenParticipant(Struct, frozen=True):
    """Somebody in a session; `connected` is false while its return is waited for."""

    id: str
    role: Role
    connected: bool


class SeenSession(Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A session as an operator sees it, its participants in the order of joining."""

    session_id: str
    org: str | None = None
    host_id: str
    participants: list[SeenParticipant]


class Overview(Struct, frozen=True, kw_only=True):
    """How much there is, all orgs together, and the latest of the peers and sessions."""

    version: str
    draining: bool
    counts: OverviewCounts
    peers: list[SeenPeer]
    sessions: list[SeenSession]


class Revoked(Struct, frozen=True, rename="camel"):
    """How many sockets were closed at once, and until when the revocation is kept, ISO 8601."""

    closed_sockets: int
    kept_until: str


class GuidePage(Struct, frozen=True):
    """A page of the guide: `/docs/guide/{name}.md`."""

    name: str
    title: str


class Guide(Struct, frozen=True):
    """The pages of the guide, in the order of reading."""

    pages: list[GuidePage]
