"""The overview of peers and sessions, for operators."""

from collections.abc import Callable, Iterable
from typing import Annotated, TypeVar

from anyio.lowlevel import checkpoint
from msgspec import Meta, Struct

from app import VERSION
from app.compose.runtime import Runtime
from app.rest.models import Overview, OverviewCounts, OverviewParticipant, OverviewPeer, OverviewSession
from schemas.capabilities import VERSION_1_1
from schemas.fields import Part
from stores.model import Peer, Session, User

SLICE = 500
MOST = 500

_Entry = TypeVar("_Entry", Peer, Session)


class OverviewQuery(Struct, frozen=True):
    """Which peers and sessions to return: those with `query` in an id or a name, and at most `limit` of each."""

    query: Part = ""
    limit: Annotated[int, Meta(ge=1, le=MOST)] = 100


async def overview(runtime: Runtime, wanted: OverviewQuery) -> Overview:
    """Return the overview. Searches in slices and yields to the event loop between them."""
    part, directory = wanted.query.casefold(), runtime.stores.directory
    peers = await _first(directory.everybody(), lambda peer: _matches_peer(part, peer), wanted.limit)
    sessions = await _first(directory.all_sessions(), lambda session: _matches_session(part, session), wanted.limit)
    sizes = directory.sizes()
    return Overview(
        version=VERSION,
        draining=runtime.readiness.is_draining,
        counts=OverviewCounts(len(runtime.gateway.connections), sizes.peers, sizes.sessions, sizes.requests),
        peers=[await _overview_peer(peer, runtime) for peer in peers],
        sessions=[_overview_session(session, runtime) for session in sessions],
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


def _matches_peer(part: str, peer: Peer) -> bool:
    return part in peer.user.id.casefold() or part in peer.profile.display_name.casefold()


def _matches_session(part: str, session: Session) -> bool:
    return part in session.id.casefold() or any(part in user.id.casefold() for user in session.participants)


async def _overview_peer(peer: Peer, runtime: Runtime) -> OverviewPeer:
    user, profile = peer.user, peer.profile
    return OverviewPeer(
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


def _overview_session(session: Session, runtime: Runtime) -> OverviewSession:
    return OverviewSession(
        session_id=session.id,
        org=session.host.org,
        host_id=session.host.id,
        participants=[
            OverviewParticipant(user.id, role, _is_connected(user, runtime))
            for user, role in session.participants.items()
        ],
    )


def _is_connected(user: User, runtime: Runtime) -> bool:
    peer = runtime.stores.directory.peer(user)
    return peer is not None and peer.lapses_at is None
