"""What REST answers, for the contract; the names of fields are those on the wire."""

from typing import Literal

from msgspec import Struct

from schemas.errors import ErrorCode


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


class Jwk(Struct, frozen=True):
    """An RSA public key (RFC 7517); `kid` is its thumbprint (RFC 7638)."""

    kty: Literal["RSA"]
    n: str
    e: str
    kid: str
    use: Literal["sig"]
    alg: str


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
    """An access token, good for `expires_in` seconds."""

    token: str
    expires_in: int


class Revoked(Struct, frozen=True, rename="camel"):
    """How many sockets were closed at once, and until when the revocation is kept, ISO 8601."""

    closed_sockets: int
    kept_until: str
