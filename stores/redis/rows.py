"""Records as they are written in Redis: JSON, for scripts look into some of it.

What a record gains in a later version stands at its end and has a default, so that nodes of different versions read
what the other has written.
"""

from typing import Any

import msgspec
from msgspec import Struct
from schemas.fields import Role

from stores.model import Peer, Request, Revocation, Session, User

_encode = msgspec.json.Encoder().encode
_encode_alike = msgspec.json.Encoder(order="deterministic").encode
peer_of = msgspec.json.Decoder(Peer).decode
request_of = msgspec.json.Decoder(Request).decode
revocation_of = msgspec.json.Decoder(Revocation).decode
user_of = msgspec.json.Decoder(User).decode


class SessionRow(Struct, frozen=True):
    """A session; JSON has no maps by user, so the participants stand in a list, in the order of joining."""

    id: str
    host: User
    participants: list[tuple[User, Role]]


_session_row_of = msgspec.json.Decoder(SessionRow).decode


def row(record: Peer | Request | Revocation | Session) -> bytes:
    """Return the record as JSON, the same on all nodes for equal records, whether read from a row or not."""
    if isinstance(record, Session):
        return _encode_alike(SessionRow(record.id, record.host, list(record.participants.items())))
    if isinstance(record, Revocation):
        return _encode_alike(record)
    read = peer_of if isinstance(record, Peer) else request_of
    return _encode_alike(read(_encode_alike(record)))  # a whole number in place of another is written as one


def session_of(data: bytes | msgspec.Raw) -> Session:
    """Return the session that was written so."""
    read = _session_row_of(data)
    return Session(read.id, read.host, dict(read.participants))


def json(value: Any) -> bytes:  # noqa: ANN401 - whatever JSON can say
    """Return a value as JSON, such as the user whose row it is."""
    return _encode(value)
