"""Authentication over REST (docs/protocol.md section 6)."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from app.auth.algorithms import Key, algorithm_of
from app.auth.tokens import dev_claims, sign
from app.rest.request import body_of, identify, runtime_of
from app.rest.responses import json, json_error
from app.rest.trusted_origin import is_trusted
from app.settings import SettingsError
from schemas.errors import ErrorCode
from schemas.fields import DISPLAY_NAME_MAX, Id
from stores.model import User

UNTRUSTED = (
    "Development tokens are only for this machine: Host must be localhost or its address,"
    " and Origin, if present, must match Host or CORS_ORIGIN"
)


class TokenRequest(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The user of a development token. The display name defaults to the id; an empty string counts as absent."""

    user_id: Id
    email: Annotated[str, Meta(max_length=320)] | None = None
    display_name: Annotated[str, Meta(max_length=DISPLAY_NAME_MAX)] | None = None
    roles: list[str] | None = None


async def get_public_key(request: Request) -> Response:
    """Return the public key as PEM; the first one if there are several."""
    keys = runtime_of(request).tokens.keys.own
    if not keys:
        message = "This server has no keys of its own; it verifies tokens with the keys of JWT_JWKS_URL"
        return json_error(404, "NOT_FOUND", message)
    return json({"publicKey": keys[0].as_pem(private=False).decode()})


async def get_jwks(request: Request) -> Response:
    """Return the public keys as a JWK set (RFC 7517); each `kid` is the key's thumbprint (RFC 7638)."""
    return json({"keys": [jwk(key) for key in runtime_of(request).tokens.keys.own]})


async def verify(request: Request) -> Response:
    """Return the user that the bearer token names."""
    identity = await identify(request)
    user = {"userId": identity.user.id, "email": identity.email, "displayName": identity.display_name}
    return json({**{name: value for name, value in user.items() if value is not None}, "roles": identity.roles})


async def make_dev_token(request: Request) -> Response:
    """Sign a token for any user; served only if development tokens are enabled."""
    runtime = runtime_of(request)
    settings = runtime.settings
    if not is_trusted(request, settings):
        return json_error(403, ErrorCode.NOT_ALLOWED, UNTRUSTED)
    wanted = await body_of(request, TokenRequest)
    try:
        key = await runtime.signing_key.get()
    except SettingsError as error:
        return json_error(503, ErrorCode.INTERNAL, str(error))
    claims = dev_claims(
        User(wanted.user_id),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        now=runtime.services.clock.now(),
        ttl=settings.jwt_expiration.seconds,
        name=wanted.display_name or wanted.user_id,
        email=wanted.email or None,
        roles=wanted.roles,
    )
    return json({"token": sign(key, claims), "expiresIn": settings.jwt_expiration.written})


def jwk(key: Key) -> dict[str, object]:
    """Return the public half of a key as a JWK."""
    return {**key.as_dict(private=False), "kid": key.thumbprint(), "use": "sig", "alg": algorithm_of(key)}
