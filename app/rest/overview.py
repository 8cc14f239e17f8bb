"""The overview: who is there, for an operator's eyes."""

from collections.abc import Callable, Iterable
from typing import Annotated, TypeVar

from anyio.lowlevel import checkpoint
from msgspec import Meta, Struct

from app import VERSION
from app.compose.runtime import Runtime
from app.rest.models import Overview, OverviewCounts, SeenParticipant, SeenPeer, SeenSession
from schemas.capabilities import VERSION_1_1
from schemas.fields import Part
from stores.model import Peer, Session, User

SLICE = 500
MOST = 500

_Entry = TypeVar("_Entry", Peer, Session)


class OverviewQuery(Struct, frozen=True):
    """Which peers and sessions to show: at most `limit` of each, and those that `query` is part of an id or name of."""

    query: Part = ""
    limit: Annotated[int, Meta(ge=1, le=MOST)] = 100


async def overview(runtime: Runtime, wanted: OverviewQuery) -> Overview:
    """Return what there is. Thousands are looked through in slices between which everything else goes on."""
    part, directory = wanted.query.casefold(), runtime.stores.directory
    peers = await _first(directory.everybody(), lambda peer: _names_peer(part, peer), wanted.limit)
    sessions = await _first(directory.all_sessions(), lambda session: _names_session(part, session), wanted.limit)
    sizes = directory.sizes()
    return Overview(
        version=VERSION,
        draining=runtime.readiness.is_draining,
        counts=OverviewCounts(len(runtime.gateway.connections), sizes.peers, sizes.sessions, sizes.requests),
        peers=[await _seen_peer(peer, runtime) for peer in peers],
        sessions=[_seen_session(session, runtime) for session in sessions],
    )


async def _first(entries: Iterable[_Entry], is_wanted: Callable[[_Entry], bool], limit: int) -> list[_Entry]:
    found: list[_Entry] = []
    for number, entry in enumerate(list(entries)):
        if len(found) == limit:
            break
        if is_wanted(entry):
            found.append(entry)
        if number % SLICE == SLICE - 1:
            await checkpoint()
    return found


def _names_peer(part: str, peer: Peer) -> bool:
    return part in peer.user.id.casefold() or part in peer.profile.display_name.casefold()


def _names_session(part: str, session: Session) -> bool:
    return part in session.id.casefold() or any(part in user.id.casefold() for user in session.participants)


async def _seen_peer(peer: Peer, runtime: Runtime) -> SeenPeer:
    user, profile = peer.user, peer.profile
    return SeenPeer(
        id=user.id,
        org=user.org,
        display_name=profile.display_name,
        ide=profile.ide,
        role=profile.role,
        status=peer.status,
        hidden=peer.is_hidden,
        connected=peer.lapses_at is None,
        capabilities=sorted(peer.spoken - {VERSION_1_1}),
        sessions=len(runtime.stores.directory.sessions_of(user)),
        kept=await runtime.stores.log.count(user),
    )


def _seen_session(session: Session, runtime: Runtime) -> SeenSession:
    return SeenSession(
        session_id=session.id,
        org=session.host.org,
        host_id=session.host.id,
        participants=[
            SeenParticipant(user.id, role, _is_connected(user, runtime)) for user, role in session.participants.items()
        ],
    )


def _is_connected(user: User, runtime: Runtime) -> bool:
    peer = runtime.stores.directory.peer(user)
    return peer is not None and peer.lapses_at is None
