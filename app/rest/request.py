"""Reads requests: the token, the query and the body."""

from typing import TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.compose.runtime import Runtime
from handlers.ports import Identity
from schemas.errors import ErrorCode, EventError

MAX_BODY_BYTES = 65_536

_Body = TypeVar("_Body", bound=msgspec.Struct)


def runtime_of(request: Request) -> Runtime:
    """Return the runtime of the application."""
    runtime: Runtime = request.app.state.runtime
    return runtime


def bearer(request: Request) -> str:
    """Return the bearer token of a request (RFC 6750 section 2.1); empty if there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


async def identify(request: Request) -> Identity:
    """Return the identity in the bearer token; raises `EventError` if it is invalid or its address is throttled.

    HTTP and sockets have separate throttles, so that no web page can lock out sockets of the same address.
    """
    runtime = runtime_of(request)
    throttle, address = runtime.admission.http_auth_throttle, runtime.address(request.client)
    try:
        return await runtime.services.tokens.verify(bearer(request), lambda: throttle.look(address))
    except EventError as refusal:
        raise throttle.failed(address, refusal) from None


def query_of(request: Request, kind: type[_Body]) -> _Body:
    """Return the query parameters; raises `EventError` `ERR_9003` if they are invalid."""
    try:
        return msgspec.convert(dict(request.query_params), kind, strict=False)
    except msgspec.ValidationError as error:
        raise EventError(ErrorCode.INVALID_DATA, f"The query is invalid: {error}"[:300]) from None


async def body_of(request: Request, kind: type[_Body]) -> _Body:
    """Return the body; raises `EventError` `ERR_9003` if it is invalid, `HTTPException` 413 if it is too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"The body has more than {MAX_BODY_BYTES} bytes")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EventError(ErrorCode.INVALID_DATA, f"The body is invalid: {error}"[:300]) from None
