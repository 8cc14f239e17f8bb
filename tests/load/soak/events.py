"""The events of the server as a soaking peer reads them: of each only what is looked at."""

import msgspec
from msgspec import Raw, Struct, field

KEPT = frozenset(
    {
        "CONNECTION_REQUEST_RECEIVED",
        "CONNECTION_ACCEPTED",
        "CONNECTION_REJECTED",
        "CONNECTION_CANCELLED",
        "SESSION_CREATED",
        "SESSION_UPDATED",
        "SESSION_ENDED",
        "MESSAGE_RECEIVED",
    }
)
"""The events that tell of something that happened (docs/protocol.md section 8)."""


class Named(Struct, frozen=True, gc=False):
    """A peer as any event names it."""

    id: str = ""


class Content(Struct, frozen=True, gc=False):
    """What we say: its number among all that its sender ever said, and some padding."""

    n: int = -1


class Resumption(Struct, frozen=True, gc=False):
    """What to resume with."""

    token: str = ""


class State(Struct, frozen=True, rename="camel", gc=False):
    """A session as `SESSIONS` lists it."""

    session_id: str
    host_id: str
    participants: list[Named]


class Data(Struct, frozen=True, rename="camel", gc=False):
    """What a peer of ours looks at in the data of any event."""

    id: str = ""
    user_id: str = ""
    request_id: str = ""
    session_id: str = ""
    host_id: str = ""
    message_id: str = ""
    code: str = ""
    message: str = ""
    sender: Raw = field(name="from", default=Raw(b""))
    content: Content = Content()
    peer: Named = Named()
    peers: list[Named] = []
    participants: list[Named] = []
    sessions: list[State] = []
    delivered: list[str] = []
    queued: list[str] = []
    duplicate: bool = False
    recovered: bool = False
    resume: Resumption = Resumption()


class Event(Struct, frozen=True, gc=False):
    """An event of the server."""

    event: str
    data: Data
    ref: str = ""
    offset: int | None = None


decode = msgspec.json.Decoder(Event).decode
