"""Changes of records, as they are told to all nodes.

A node of a newer version may tell more of one, which is left out, and of kinds that are not known here.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from stores.base import Revocation
from stores.bus import Home
from stores.redis.rows import peer_of, request_of, revocation_of, session_of

_changes_of = msgspec.json.Decoder(list[list[Raw]]).decode
_text = msgspec.json.Decoder(str).decode
_number = msgspec.json.Decoder(int).decode
_org = msgspec.json.Decoder(str | None).decode

_ABOUT: dict[str, Callable[..., tuple[Any, ...]]] = {
    "peer": lambda place, peer, *_: (_number(place), peer_of(peer)),
    "gone": lambda user, *_: (_text(user),),
    "home": lambda user, node, socket, fence, *_: (_text(user), Home(_text(node), _number(socket), _number(fence))),
    "left": lambda user, *_: (_text(user),),
    "request": lambda request, *_: (request_of(request),),
    "taken": lambda request_id, *_: (_text(request_id),),
    "session": lambda session, *_: (session_of(session),),
    "ended": lambda session_id, *_: (_text(session_id),),
}


class Change(Struct, frozen=True):
    """One of an org's records is not as it was: the `version` of the org by that, and its kind."""

    node: str
    org: str | None
    version: int
    kind: str
    parts: list[Raw]

    @property
    def is_known(self) -> bool:
        """Whether it is of a kind that is known here."""
        return self.kind in _ABOUT

    @property
    def about(self) -> tuple[Any, ...]:
        """What it is about."""
        return _ABOUT[self.kind](*self.parts)


class Revoked(Struct, frozen=True):
    """A node revoked tokens."""

    node: str
    revocation: Revocation


def changes_of(message: bytes) -> list[Change | Revoked]:
    """Return what a message tells."""
    return [_change_of(*parts) for parts in _changes_of(message)]


def _change_of(kind: Raw, node: Raw, *rest: Raw) -> Change | Revoked:
    name = _text(kind)
    if name == "revoked":
        return Revoked(_text(node), revocation_of(rest[0]))
    org, version, *parts = rest
    return Change(_text(node), _org(org), _number(version), name, parts)
