"""Authentication and the heartbeat."""

from typing import ClassVar

from msgspec import Raw

from schemas.errors import ErrorCode
from schemas.events import ClientEvent, ServerEvent


class Auth(ClientEvent, frozen=True):
    """Presents an access token. A token of any other type than string is an invalid token, so it is looked at later."""

    token: Raw = Raw(b"null")


class AuthSuccess(ServerEvent, frozen=True):
    """The token is good; from its claims `sub`, `name` and `email`."""

    event: ClassVar[str] = "AUTH_SUCCESS"
    user_id: str
    display_name: str
    email: str | None = None


class AuthFailed(ServerEvent, frozen=True):
    """The token is not good; the socket closes with 4001."""

    event: ClassVar[str] = "AUTH_FAILED"
    code: ErrorCode
    message: str


class Ping(ClientEvent, frozen=True):
    """Asks for a sign of life."""


class Pong(ServerEvent, frozen=True):
    """Answers `PING` with the server's time, milliseconds since 1970."""

    event: ClassVar[str] = "PONG"
    timestamp: int
