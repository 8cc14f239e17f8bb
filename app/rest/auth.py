"""Authentication over REST (protocol.md section 6)."""

import time
from typing import Annotated

import msgspec
from joserfc.jwk import RSAKey
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from app.auth.keys import private_key
from app.auth.tokens import ALGORITHM, dev_claims, sign
from app.rest.answers import json, json_error
from app.runtime import Runtime
from app.settings import SettingsError
from schemas.errors import ErrorCode, EventError
from schemas.fields import DisplayName, Id
from stores.base import User

MAX_BODY_BYTES = 65_536


class TokenRequest(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Whom a development token is to name."""

    user_id: Id
    email: Annotated[str, Meta(min_length=1, max_length=320)]
    display_name: DisplayName
    roles: list[str] | None = None


async def get_public_key(request: Request) -> Response:
    """Return the public key as PEM."""
    return json({"publicKey": _runtime(request).public_key.as_pem(private=False).decode()})


async def get_jwks(request: Request) -> Response:
    """Return the public key as a JWK set (RFC 7517), `kid` being its thumbprint (RFC 7638)."""
    return json({"keys": [jwk(_runtime(request).public_key)]})


async def verify(request: Request) -> Response:
    """Say whom the bearer token names."""
    runtime = _runtime(request)
    address = runtime.address(request.client)
    wait = runtime.services.failures.wait(address)
    if wait:
        message = "Too many authentications from your address failed; wait before you try again"
        return json_error(429, ErrorCode.RATE_LIMITED, message, {"Retry-After": str(int(wait) + 1)})
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        identity = runtime.services.tokens.verify(token.strip() if scheme.lower() == "bearer" else "")
    except EventError as refusal:
        runtime.services.failures.failed(address)
        return json_error(401, refusal.code, refusal.message, {"WWW-Authenticate": "Bearer"})
    who = {"userId": identity.user.id, "email": identity.email, "displayName": identity.display_name}
    return json({**{name: value for name, value in who.items() if value is not None}, "roles": identity.roles})


async def make_dev_token(request: Request) -> Response:
    """Sign a token for whoever asks; routed only where development tokens are handed out."""
    settings = _runtime(request).settings
    try:
        wanted = msgspec.json.decode(await _body(request), type=TokenRequest)
        key = private_key(settings)
    except _BodyTooLargeError as error:
        return json_error(413, ErrorCode.INVALID_DATA, str(error))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return json_error(400, ErrorCode.INVALID_DATA, f"The body does not fit: {error}"[:300])
    except SettingsError as error:
        return json_error(503, ErrorCode.INTERNAL, str(error))
    claims = dev_claims(
        User(wanted.user_id),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        now=time.time(),
        ttl=settings.jwt_expiration,
        name=wanted.display_name,
        email=wanted.email,
        roles=wanted.roles,
    )
    return json({"token": sign(key, claims), "expiresIn": settings.jwt_expiration})


def jwk(key: RSAKey) -> dict[str, object]:
    """Return the public half of a key as a JWK."""
    return {**key.as_dict(private=False), "kid": key.thumbprint(), "use": "sig", "alg": ALGORITHM}


class _BodyTooLargeError(Exception):
    pass


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _BodyTooLargeError(f"The body has more than {MAX_BODY_BYTES} bytes")
    return body


def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime
