"""Registration, status and discovery."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import get_args

from msgspec.structs import replace
from schemas.capabilities import VERSION_1_1
from schemas.errors import ErrorCode, EventError
from schemas.fields import ConnectionMode, Ide, Role, Status
from schemas.peers import DiscoverPeers, PeerEntry, PeerRegister, PeerRegistered, PeersList, PeerStatus, Profile
from schemas.prices import PEERS_PER_EVENT, SEARCHED_PER_EVENT
from stores.model import Peer

from handlers.context import Context
from handlers.domain import membership
from handlers.domain.profiles import check_metadata, size_of
from handlers.domain.requests import tell_waiting
from handlers.ports import State
from handlers.table import HandlerTable

table = HandlerTable()


@table.on("PEER_REGISTER", needs=State.AUTHENTICATED, answers=(PeerRegistered,))
async def register(message: PeerRegister, ctx: Context) -> None:
    """Join the directory, or replace the profile there; what was kept for the user follows the answer."""
    _check_listed("PEER_REGISTER", message, ctx)
    check_metadata(message.metadata)
    profile = Profile(
        display_name=message.display_name or ctx.socket.identity.display_name,
        role=message.role or "guest",
        ide=message.ide or "other",
        metadata=message.metadata,
    )
    before = ctx.directory.peer(ctx.user)
    peer = Peer(
        user=ctx.user,
        profile=profile,
        status=_status(before),
        address=ctx.socket.address,
        is_hidden=message.visibility == "hidden",
        spoken=ctx.socket.spoken,
        holder=ctx.socket.holder,
    )
    if not await ctx.stores.peers.register(peer, ctx.socket.holder):
        return  # superseded meanwhile: nothing more of this socket is handled
    if ctx.directory.peer(ctx.user) is None:
        return  # given up meanwhile, since its token was revoked
    is_new = ctx.socket.state is not State.REGISTERED
    if is_new:
        ctx.services.audit.note("registered", peer.user, socket_id=ctx.socket.holder.socket)
    ctx.socket.registered()
    ctx.answer(PeerRegistered(id=peer.user.id, profile=profile, status=peer.status))
    await ctx.delivery.attach(peer.user, ctx.socket)
    if is_new and "resume" in peer.spoken:
        tell_waiting(ctx.services, peer.user)
    ctx.delivery.announce(peer)
    membership.tell_returned(ctx.services, before, ctx.socket)


@table.on("PEER_STATUS")
async def set_status(message: PeerStatus, ctx: Context) -> None:
    """Tell the others whether one has time; it stays so through drops that are resumed and further registrations."""
    peer = ctx.directory.peer(ctx.user)
    if peer is None or peer.status == message.status:
        return
    changed = replace(peer, status=message.status)
    if await ctx.stores.peers.register(changed, ctx.socket.holder):
        ctx.delivery.announce(changed)


@table.on("DISCOVER_PEERS")
def discover(message: DiscoverPeers, ctx: Context) -> PeersList:
    """List who is there and matches every filter given; with a cursor to go on from if pages are asked for.

    If the metadata would exceed the size of a message, the list is cut there and has a cursor, too.
    """
    _check_listed("DISCOVER_PEERS", message, ctx)
    there, page = len(ctx.directory.peers(ctx.user.org)), ctx.limits.directory_page
    most = min(message.limit or page, page)
    ctx.socket.charge(there // SEARCHED_PER_EVENT + min(most, there) // PEERS_PER_EVENT)
    matching = list(islice(_matching(message, ctx), most + 1))
    peers = list(_within(ctx.limits.message_bytes, matching[:most], ctx))
    ctx.delivery.listed(ctx.user, [peer.user for peer in peers])
    is_cut, is_paged = len(peers) < min(most, len(matching)), bool(message.limit or message.cursor)
    has_more = is_cut or (is_paged and len(matching) > most)
    cursor = f"{ctx.directory.place(peers[-1].user):x}" if has_more else None
    return PeersList(peers=[_entry(peer, ctx) for peer in peers], next_cursor=cursor)


def _within(most_bytes: int, peers: Iterable[Peer], ctx: Context) -> Iterator[Peer]:
    """Yield peers until their metadata, if the asker sees it, exceeds so many bytes together; at least one."""
    size = 0
    for peer in peers:
        metadata = peer.profile.metadata
        if metadata is not None and VERSION_1_1 in ctx.socket.spoken:
            size += size_of(metadata)
            if size > most_bytes:
                return
        yield peer


def _check_listed(event: str, message: PeerRegister | DiscoverPeers, ctx: Context) -> None:
    """Raise for an unlisted `ide` or `role`, unless the socket is of version 1: its plugins may use any text."""
    if VERSION_1_1 not in ctx.socket.spoken:
        return
    for field, value, kind in (("ide", message.ide, Ide), ("role", message.role, Role)):
        listed = get_args(kind)
        if value is not None and value not in listed:
            allowed = ", ".join(listed)
            raise EventError(
                ErrorCode.INVALID_DATA, f"{event}: {field}: {value!r} is not listed; allowed are {allowed}"
            )


def _status(before: Peer | None) -> Status:
    """Return the status to register with: the one there was, unless the others take the peer for gone."""
    return "online" if before is None or before.status == "offline" else before.status


def _matching(filters: DiscoverPeers, ctx: Context) -> Iterator[Peer]:
    """Return the others who match, one filter after another: each is run through only if it was given."""
    after = int(filters.cursor or "0", 16)
    peers = ctx.directory.listed(ctx.user.org, after=after, name=(filters.query or "").casefold())
    if filters.role is not None:
        peers = (peer for peer in peers if peer.profile.role == filters.role)
    if filters.ide is not None:
        peers = (peer for peer in peers if peer.profile.ide == filters.ide)
    if filters.status is not None:
        peers = (peer for peer in peers if peer.status == filters.status)
    if filters.lan_only:
        peers = (peer for peer in peers if peer.address == ctx.socket.address)
    return (peer for peer in peers if peer.user != ctx.user)


def _entry(peer: Peer, ctx: Context) -> PeerEntry:
    mode: ConnectionMode = "LAN" if peer.address == ctx.socket.address else "REMOTE"
    return PeerEntry(id=peer.user.id, profile=peer.profile, status=peer.status, connection_mode=mode)
