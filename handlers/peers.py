"""Registration and discovery."""

from schemas.fields import ConnectionMode
from schemas.peers import DiscoverPeers, PeerEntry, PeerRegister, PeerRegistered, PeersList, Profile
from stores.base import Peer

from handlers import membership
from handlers.ports import State
from handlers.table import Context, HandlerTable

table = HandlerTable()


@table.on("PEER_REGISTER", needs=State.AUTHENTICATED)
async def register(message: PeerRegister, ctx: Context) -> None:
    """Join the directory, or replace the profile there; what was kept for the user follows the answer."""
    profile = Profile(
        display_name=message.display_name or ctx.socket.identity.display_name,
        role=message.role or "guest",
        ide=message.ide or "other",
    )
    peer = Peer(user=ctx.user, profile=profile, status="online", address=ctx.socket.address)
    before = ctx.directory.peer(ctx.user)
    if not await ctx.stores.peers.register(peer, ctx.socket.holder):
        return  # superseded meanwhile: nothing more of this socket is handled
    ctx.socket.registered()
    ctx.answer(PeerRegistered(id=peer.user.id, profile=profile, status=peer.status))
    ctx.delivery.attach(peer.user, ctx.socket)
    ctx.delivery.announce(peer)
    membership.tell_returned(ctx.services, before)


@table.on("DISCOVER_PEERS")
def discover(message: DiscoverPeers, ctx: Context) -> PeersList:
    """List who is there and matches every filter given."""
    entries: list[PeerEntry] = []
    for peer in ctx.directory.peers(ctx.user.org):
        if peer.is_present and peer.user != ctx.user and _matches(peer, message, ctx):
            entries.append(_entry(peer, ctx))
            if len(entries) == ctx.limits.directory_page:
                break
    ctx.delivery.listed(ctx.user, entries)
    return PeersList(peers=entries)


def _matches(peer: Peer, filters: DiscoverPeers, ctx: Context) -> bool:
    return (
        filters.role in (None, peer.profile.role)
        and filters.ide in (None, peer.profile.ide)
        and (not filters.lan_only or peer.address == ctx.socket.address)
    )


def _entry(peer: Peer, ctx: Context) -> PeerEntry:
    mode: ConnectionMode = "LAN" if peer.address == ctx.socket.address else "REMOTE"
    return PeerEntry(id=peer.user.id, profile=peer.profile, status=peer.status, connection_mode=mode)
