"""Authentication and the heartbeat."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Raw, Struct, field

from schemas.errors import ErrorCode
from schemas.events import ClientEvent, ServerEvent
from schemas.examples import Example
from schemas.fields import Label, Labels, Offset
from schemas.variants import Needs

Token = Annotated[Raw, Meta(extra_json_schema={"type": "string", "description": "A JWT, with or without `Bearer `."})]

NO_TOKEN = Raw(b"null")


class Client(Struct, frozen=True):
    """The client's program."""

    name: Label | None = None
    version: Label | None = None


class Resume(Struct, frozen=True):
    """What a client resumes from: the token it was given last, and the offset of the last event it handled."""

    token: Label
    offset: Offset


class Auth(ClientEvent, frozen=True):
    """Authenticates the socket with an access token; on an authenticated socket, renews its token.

    The first `AUTH` of a user takes over from the user's other socket, which is closed with 4002. If the token is
    refused, the server answers `AUTH_FAILED` and closes the socket with 4001.
    """

    example: ClassVar[Example] = {"token": "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl", "capabilities": ["acks", "notices"]}
    token: Token = field(default_factory=lambda: NO_TOKEN)
    capabilities: Labels | None = None
    client: Client | None = None
    resume: Resume | None = None


class Server(Struct, frozen=True):
    """The server's program, and the newest protocol that it speaks."""

    version: str
    protocol: Literal["1.1"] = "1.1"


class SocketLimits(Struct, frozen=True, rename="camel"):
    """What a client may send: bytes a message, events a second in the long run, events at once.

    The server pings every `heartbeat_seconds`: a connection on which nothing came for twice as long is dead.
    """

    max_message_bytes: int
    events_per_second: int
    burst: int
    heartbeat_seconds: float


class Resumption(Struct, frozen=True, rename="camel"):
    """What the client resumes with, if it is back within `grace_seconds` of a drop."""

    token: str
    grace_seconds: float


class AuthSuccess(ServerEvent, frozen=True):
    """Tells the client that its token is good, and what the claims `sub`, `name` and `email` say.

    Only clients that sent `capabilities` get the other fields.
    """

    event: ClassVar[str] = "AUTH_SUCCESS"
    is_numbered: ClassVar[bool] = False
    example: ClassVar[Example] = {"userId": "ann", "displayName": "Ann", "email": "ann@example.com"}
    user_id: str
    display_name: str
    email: str | None = None
    capabilities: list[str] | None = None
    server: Server | None = None
    limits: SocketLimits | None = None
    resume: Resumption | None = None
    recovered: bool | None = None


class AuthFailed(ServerEvent, frozen=True):
    """Tells the client that its token is refused. The server then closes the socket with 4001."""

    event: ClassVar[str] = "AUTH_FAILED"
    is_numbered: ClassVar[bool] = False
    example: ClassVar[Example] = {"code": "ERR_1003", "message": "The access token has expired"}
    code: ErrorCode
    message: str


class Ping(ClientEvent, frozen=True):
    """Asks the server for a sign of life.

    `offset` is the number of the last event that the client has handled. The server lets go of what it keeps up to
    there.
    """

    example: ClassVar[Example] = {}
    offset: Annotated[Offset | None, Needs("resume")] = None


class Pong(ServerEvent, frozen=True):
    """Answers `PING` with the server's time, in milliseconds since 1970."""

    event: ClassVar[str] = "PONG"
    is_numbered: ClassVar[bool] = False
    example: ClassVar[Example] = {"timestamp": 1769850000000}
    timestamp: int
