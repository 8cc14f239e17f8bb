"""Answers in JSON; errors are always `{"code", "message"}`."""

from collections.abc import Mapping

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import ErrorCode

_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


class JsonError(msgspec.Struct, frozen=True):
    """The body of every REST error."""

    code: str
    message: str


def json(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


def json_error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON error."""
    return json(JsonError(code, message), status, headers)


async def on_http_exception(_request: Request, error: Exception) -> Response:
    """Answer what Starlette refuses by itself: no such path, no such method."""
    if not isinstance(error, HTTPException):
        return await on_exception(_request, error)
    return json_error(error.status_code, _CODES.get(error.status_code, "BAD_REQUEST"), error.detail, error.headers)


async def on_exception(_request: Request, _error: Exception) -> Response:
    """Answer what nobody foresaw; the log has it."""
    return json_error(500, ErrorCode.INTERNAL, "Internal error")
