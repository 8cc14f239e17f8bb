"""Error codes and close codes, each in one place (protocol.md sections 4 and 5)."""

from enum import IntEnum, StrEnum
from typing import ClassVar

from msgspec import Struct

from schemas.events import ServerEvent


class ErrorCode(StrEnum):
    """Why something was refused. An error closes the socket only where protocol.md section 5 says so."""

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
    NOT_A_MESSAGE = "ERR_5003"
    RATE_LIMITED = "ERR_5004"
    NOT_AUTHENTICATED = "ERR_5005"
    REQUEST_NOT_FOUND = "ERR_6001"
    REQUEST_TO_ONESELF = "ERR_6002"
    NOT_THE_ONE_ASKED = "ERR_6004"
    INTERNAL = "ERR_9001"
    STORE_UNREACHABLE = "ERR_9002"
    INVALID_DATA = "ERR_9003"


class CloseCode(IntEnum):
    """Why a socket was closed; what a client should do about it is in protocol.md section 5."""

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


class Limit(StrEnum):
    """What is bounded, as metrics and logs name it."""

    CONNECTIONS = "connections"
    CONNECTIONS_PER_ADDRESS = "connections_per_address"
    ORIGIN = "origin"
    HTTP_CONNECTIONS = "http_connections"
    HTTP_SECONDS = "http_seconds"
    HTTP_HEAD = "http_head"
    HTTP_MALFORMED = "http_malformed"
    UNAUTHENTICATED = "unauthenticated"
    AUTH_SECONDS = "auth_seconds"
    AUTH_FAILURES = "auth_failures"
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
    """Something was refused."""

    event: ClassVar[str] = "ERROR"
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
