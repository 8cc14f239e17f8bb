"""JSON responses; an error's body is always `{"code", "message"}`."""

import math
from collections.abc import Mapping

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.contract.endpoint import JsonError
from schemas.errors import ErrorCode, EventError, RetryAfter

_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: ErrorCode.INVALID_DATA}
_STATUS = {
    ErrorCode.TOKEN_MISSING: 401,
    ErrorCode.TOKEN_INVALID: 401,
    ErrorCode.TOKEN_EXPIRED: 401,
    ErrorCode.NOT_ALLOWED: 403,
    ErrorCode.RATE_LIMITED: 429,
}
_CHALLENGES = {401: "Bearer", 403: 'Bearer error="insufficient_scope"'}


def json(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


def json_error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON error."""
    return json(JsonError(code, message), status, headers)


async def on_http_exception(_request: Request, error: Exception) -> Response:
    """Return the response for an error of Starlette's own: an unknown path, a wrong method."""
    if not isinstance(error, HTTPException):
        return await on_exception(_request, error)
    return json_error(error.status_code, _CODES.get(error.status_code, "BAD_REQUEST"), error.detail, error.headers)


async def on_event_error(_request: Request, error: Exception) -> Response:
    """Return the response for an `EventError`: its code, as on a socket, and a challenge (RFC 6750 section 3)."""
    if not isinstance(error, EventError):
        return await on_exception(_request, error)
    status = _STATUS.get(error.code, 400)
    headers = {"WWW-Authenticate": _CHALLENGES[status]} if status in _CHALLENGES else {}
    if isinstance(error.details, RetryAfter):
        headers["Retry-After"] = str(math.ceil(error.details.retry_after_ms / 1000))
    return json_error(status, error.code, error.message, headers)


async def on_store_unreachable(_request: Request, error: Exception) -> Response:
    """Return the response while a store is unreachable."""
    return json_error(503, ErrorCode.STORE_UNREACHABLE, f"Temporarily unavailable, try again: {error}")


async def on_exception(_request: Request, _error: Exception) -> Response:
    """Return the response for an unexpected exception, which is in the log."""
    return json_error(500, ErrorCode.INTERNAL, "Internal error")
