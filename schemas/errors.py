"""Error codes and close codes, each in one place (docs/protocol.md sections 4 and 5)."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import ClassVar

from msgspec import Struct

from schemas.events import ServerEvent
from schemas.examples import Example


class ErrorCode(StrEnum):
    """Why something was refused. An error closes the socket only where docs/protocol.md section 5 says so."""

    TOKEN_MISSING = "ERR_1001"
    TOKEN_INVALID = "ERR_1002"
    TOKEN_EXPIRED = "ERR_1003"
    NOT_ALLOWED = "ERR_1004"
    PEER_NOT_FOUND = "ERR_2001"
    SUPERSEDED = "ERR_2005"
    NOT_REGISTERED = "ERR_2006"
    SESSION_NOT_FOUND = "ERR_3001"
    SESSION_FULL = "ERR_3005"
    NOT_A_PARTICIPANT = "ERR_3008"
    TARGET_OFFLINE = "ERR_4003"
    LOG_FULL = "ERR_4004"
    NOT_A_MESSAGE = "ERR_5003"
    RATE_LIMITED = "ERR_5004"
    NOT_AUTHENTICATED = "ERR_5005"
    REQUEST_NOT_FOUND = "ERR_6001"
    REQUEST_TO_ONESELF = "ERR_6002"
    NOT_THE_ONE_ASKED = "ERR_6004"
    INTERNAL = "ERR_9001"
    STORE_UNREACHABLE = "ERR_9002"
    INVALID_DATA = "ERR_9003"


MEANING: Mapping[ErrorCode, str] = {
    ErrorCode.TOKEN_MISSING: "token missing, or the deadline for `AUTH` passed",
    ErrorCode.TOKEN_INVALID: "token invalid",
    ErrorCode.TOKEN_EXPIRED: "token expired",
    ErrorCode.NOT_ALLOWED: "not allowed",
    ErrorCode.PEER_NOT_FOUND: "no such peer",
    ErrorCode.SUPERSEDED: "superseded by a newer connection of the same user",
    ErrorCode.NOT_REGISTERED: "send `PEER_REGISTER` first",
    ErrorCode.SESSION_NOT_FOUND: "no such session: it never was, or is over",
    ErrorCode.SESSION_FULL: "session full, or too many sessions of one user",
    ErrorCode.NOT_A_PARTICIPANT: "not a participant of the session",
    ErrorCode.TARGET_OFFLINE: "the target is offline",
    ErrorCode.LOG_FULL: "what is kept for the target is full; try again once it is back",
    ErrorCode.NOT_A_MESSAGE: "not a message: bad JSON, no object, no `event`, or an unknown one",
    ErrorCode.RATE_LIMITED: "too much at once; `details.retryAfterMs` says when to go on",
    ErrorCode.NOT_AUTHENTICATED: "send `AUTH` first",
    ErrorCode.REQUEST_NOT_FOUND: "no such connection request: it never was, is answered, or expired",
    ErrorCode.REQUEST_TO_ONESELF: "a connection request to oneself",
    ErrorCode.NOT_THE_ONE_ASKED: "the request was made to another peer",
    ErrorCode.INTERNAL: "internal error; the server's log has it",
    ErrorCode.STORE_UNREACHABLE: "a store is unreachable; try again",
    ErrorCode.INVALID_DATA: "`data` or `ref` does not fit; the message names the field",
}
"""What each code means, for the contract."""


class CloseCode(IntEnum):
    """Why a socket was closed; what a client should do about it is in docs/protocol.md section 5."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    NO_STATUS = 1005
    ABNORMAL = 1006
    BAD_UTF8 = 1007
    TOO_LARGE = 1009
    RESTART = 1012
    UNAUTHENTICATED = 4001
    SUPERSEDED = 4002
    TOKEN_EXPIRED = 4003
    TOO_SLOW = 4008
    RATE_LIMITED = 4029


AFTER_CLOSE: Mapping[CloseCode, str] = {
    CloseCode.NORMAL: "one side said goodbye: do not reconnect by yourself",
    CloseCode.GOING_AWAY: "the other side goes away: if you did not close it yourself, pause, then reconnect",
    CloseCode.PROTOCOL_ERROR: "RFC 6455 violated, a bug in the client: stop",
    CloseCode.BAD_UTF8: "not UTF-8, a bug in the client: stop",
    CloseCode.TOO_LARGE: "message too large, a bug in the client: stop",
    CloseCode.RESTART: "this node restarts: reconnect, with jitter",
    CloseCode.UNAUTHENTICATED: "the token was refused or revoked, or `AUTH` came late: get a new token first",
    CloseCode.SUPERSEDED: "another connection of the user took over: do not reconnect by yourself",
    CloseCode.TOKEN_EXPIRED: "the token expired: reconnect with a fresh one",
    CloseCode.TOO_SLOW: "you read too slowly: reconnect",
    CloseCode.RATE_LIMITED: "you kept exceeding the rate limit: wait, then reconnect",
}
"""Why a socket was closed, and what a client should do, for the contract."""


class Limit(StrEnum):
    """What is bounded, as metrics and logs name it."""

    CONNECTIONS = "connections"
    CONNECTIONS_PER_ADDRESS = "connections_per_address"
    ORIGIN = "origin"
    HTTP_CONNECTIONS = "http_connections"
    HTTP_SECONDS = "http_seconds"
    HTTP_HEAD = "http_head"
    HTTP_MALFORMED = "http_malformed"
    HTTP_REQUESTS = "http_requests"
    UNAUTHENTICATED = "unauthenticated"
    AUTH_SECONDS = "auth_seconds"
    AUTH_FAILURES = "auth_failures"
    LOGINS = "logins"
    EVENTS = "events"
    MESSAGE_BYTES = "message_bytes"
    OUTBOX_BYTES = "outbox_bytes"
    PENDING_REQUESTS = "pending_requests"
    SESSIONS = "sessions"
    PARTICIPANTS = "participants"


class RetryAfter(Struct, frozen=True, rename="camel"):
    """When a refused client may send again, in milliseconds."""

    retry_after_ms: int


class Error(ServerEvent, frozen=True):
    """Tells the client that the server refused its event. The socket stays open, unless a close frame follows."""

    event: ClassVar[str] = "ERROR"
    is_numbered: ClassVar[bool] = False
    example: ClassVar[Example] = {"code": "ERR_3001", "message": "No such session: it never was, or is over"}
    code: ErrorCode
    message: str
    details: RetryAfter | None = None


class EventError(Exception):
    """A refusal: raised by a handler, answered as `ERROR {code, message}`; the text is for the client's author.

    `limit` is the one that was reached, if that is why.
    """

    def __init__(
        self, code: ErrorCode, message: str, details: RetryAfter | None = None, *, limit: Limit | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.limit = limit
