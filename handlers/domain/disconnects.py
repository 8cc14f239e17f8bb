"""What happens when a socket goes: leaving for good, or dropping out for now (docs/protocol.md section 3)."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf, nextafter

from msgspec.structs import replace
from schemas.errors import EventError
from schemas.fields import EndReason
from stores.model import Holder, Peer, Request, Revocation, User

from handlers.context import Context
from handlers.domain import membership
from handlers.domain.requests import cancel, reject
from handlers.ports import Identity, Services
from handlers.retries import run_each

ORPHAN_SECONDS = 10.0


class OrphanedMembers:
    """Users who left while the store or their node was away, and so are still in sessions or have requests.

    A user who is not registered for `ORPHAN_SECONDS`, or up to twice as long, is removed from both.
    """

    def __init__(self, services: Services, monotonic: Callable[[], float]) -> None:
        self._services = services
        self._monotonic = monotonic
        self._looked_at = monotonic()
        self._last: frozenset[User] = frozenset()

    async def remove(self) -> None:
        """Remove those who are due; does nothing more often than every `ORPHAN_SECONDS`."""
        now = self._monotonic()
        if now - self._looked_at < ORPHAN_SECONDS:
            return
        orphaned = frozenset(self._services.stores.directory.orphaned())
        self._looked_at, last, self._last = now, self._last, orphaned
        attempt = self._services.retries.attempt
        again = [partial(_withdraw_again, user, "timeout", self._services) for user in orphaned & last]
        await run_each(partial(attempt, each) for each in again)


async def leave(ctx: Context) -> None:
    """Give the user up at once: the client said goodbye. Does nothing if another socket is the user's by now."""
    if await ctx.stores.peers.release(ctx.user, ctx.socket.holder):
        await _leave(ctx.user, ctx.services)


async def drop(ctx: Context) -> None:
    """Wait for the user's return: the connection was lost. Does nothing if another socket is the user's by now."""
    if not await ctx.stores.peers.release(ctx.user, ctx.socket.holder):
        return
    peer = ctx.directory.peer(ctx.user)
    if peer is None:
        ctx.delivery.forget(ctx.user)
    elif peer.lapses_at is None:
        ctx.delivery.detach(peer.user)
        await _await(peer, ctx.services)
    elif peer.status != "offline":
        await _await_return(peer, ctx.services)
    await _give_up_revoked(ctx.socket.identity, ctx.services)


async def catch_up(identity: Identity, holder: Holder, services: Services, *, is_leaving: bool) -> None:
    """Do what follows from the end of a user's last socket, which could not be done, or but half of it, at its time."""
    await services.stores.peers.release(identity.user, holder)
    if is_leaving:
        await _leave(identity.user, services)
    else:
        peer = services.stores.directory.peer(identity.user)
        if peer is None:
            services.delivery.forget(identity.user)
        elif peer.lapses_at is None:
            await _await(peer, services)
        await _give_up_revoked(identity, services)


async def is_revoked(identity: Identity, services: Services) -> bool:
    """Whether the token behind this identity was revoked."""
    token_id, issued_at, now = identity.token_id, identity.issued_at, services.clock.now()
    return await services.stores.revocations.cover(identity.user, token_id, issued_at, now)


async def abandon(peer: Peer, services: Services) -> None:
    """Wait for the return of a peer whose node is gone. Of several nodes that do this, one finds it as it was."""
    if peer.holder is not None:
        await services.stores.peers.release(peer.user, peer.holder)
    await _await(peer, services)


async def expire_absences(services: Services) -> None:
    """Give up the users who did not come back in time; a failure for one does not stop the others."""
    lapsed = await services.stores.peers.take_lapsed(services.clock.now())
    await run_each(partial(_give_up, peer, "timeout", services) for peer in lapsed)


async def overflow(user: User, services: Services) -> None:
    """Give up a user for whom more was kept than the bound; later, if the store does not answer.

    Not if it is back by now, nor if it may resume: that it cannot do so any more it is told on its return.
    """
    await services.retries.attempt(partial(_overflow, user, services))


async def _overflow(user: User, services: Services) -> None:
    peer = services.stores.directory.peer(user)
    if peer is not None and peer.lapses_at is not None and not peer.is_resumable:
        await services.stores.peers.remove(user)
        await _give_up(peer, "overflow", services)


async def revoke(revocation: Revocation, services: Services) -> int:
    """Keep the revocation, and do what follows from it here; return how many sockets were closed."""
    await services.stores.revocations.add(revocation, services.clock.now())
    return await enforce(revocation, services)


async def enforce(revocation: Revocation, services: Services) -> int:
    """Close this node's sockets that a revoked token let in, and give up their users, as well as one who is away.

    If the store does not answer for a user, that user is given up later. Returns how many sockets were closed.
    """
    cut = services.delivery.revoke(revocation)
    await run_each(partial(_revoke, user, services) for user in cut)
    peer = revocation.user and services.stores.directory.peer(revocation.user)
    if peer and peer.lapses_at is not None:
        await _revoke(peer.user, services)
    return len(cut)


async def recheck(identity: Identity, services: Services) -> None:
    """Enforce a revocation of this user's token that this node did not hear of, if there was one."""
    if not await is_revoked(identity, services):
        return
    if identity.token_id is not None:
        missed = Revocation(expires_at=0, token_id=identity.token_id)
    else:
        missed = Revocation(expires_at=0, user=identity.user, issued_before=nextafter(identity.issued_at, inf))
    await enforce(missed, services)


async def _give_up_revoked(identity: Identity, services: Services) -> None:
    """Give up a user who just went away, if the token was revoked: `enforce` may have run before."""
    if services.stores.directory.peer(identity.user) is not None and await is_revoked(identity, services):
        await _leave(identity.user, services, "revoked")


async def _leave(user: User, services: Services, reason: EndReason = "left") -> None:
    if not await _remove_released(user, reason, services) and services.stores.directory.peer(user) is None:
        services.delivery.forget(user)


async def _revoke(user: User, services: Services) -> None:
    """Give up a user; later if the store does not answer, unless another socket is the user's by then."""
    again = partial(_remove_released, user, "revoked", services)
    await services.retries.attempt(partial(_remove, user, "revoked", services), again)


async def _remove(user: User, reason: EndReason, services: Services) -> None:
    peer = await services.stores.peers.remove(user)
    if peer is not None:
        await _give_up(peer, reason, services)


async def _remove_released(user: User, reason: EndReason, services: Services) -> bool:
    """Give up a user whose connection nobody holds; False, changing nothing, if there is no such peer."""
    peer = await services.stores.peers.remove_released(user)
    if peer is not None:
        await _give_up(peer, reason, services)
    return peer is not None


async def _await(peer: Peer, services: Services) -> None:
    """Wait for a peer that has lost its connection, and tell its sessions."""
    if await (_await_resume if "resume" in peer.spoken else _await_return)(peer, services):
        membership.tell_dropped(services, peer)


async def _await_resume(peer: Peer, services: Services) -> bool:
    """Keep the peer as it is for a while: nothing is lost to it. False if it is back by now."""
    lapses_at = services.clock.now() + services.limits.resume_grace
    return await services.stores.peers.put_released(replace(peer, lapses_at=lapses_at, is_resumable=True))


async def _await_return(peer: Peer, services: Services) -> bool:
    """Keep the peer's sessions for a while; to others it is offline. False if it is back by now."""
    lapses_at = peer.lapses_at or services.clock.now() + services.limits.session_grace
    away = replace(peer, status="offline", lapses_at=lapses_at)
    is_away = await services.stores.peers.put_released(away)
    if is_away:
        services.delivery.announce(away)
    return is_away


async def _give_up(peer: Peer, reason: EndReason, services: Services) -> None:
    """Tell the others that a peer is gone, and take it out of what it was in; retry what fails of that."""
    services.delivery.forget(peer.user)
    if peer.status != "offline":
        services.delivery.announce(replace(peer, status="offline", lapses_at=services.clock.now()))
    await services.retries.attempt(
        partial(_withdraw, peer.user, reason, services), partial(_withdraw_again, peer.user, reason, services)
    )


async def _withdraw_again(user: User, reason: EndReason, services: Services) -> None:
    """Do the rest of what a failure cut short; whoever has registered since keeps what is left."""
    if services.stores.directory.peer(user) is None:
        await _withdraw(user, reason, services)


async def _withdraw(user: User, reason: EndReason, services: Services) -> None:
    """Take a user out of its requests and sessions; a failure for one does not stop the others."""
    directory = services.stores.directory
    await run_each(
        [
            *(partial(_end_request, request, user, services) for request in directory.requests_of(user)),
            *(partial(_clean_up, session.id, user, reason, services) for session in directory.sessions_of(user)),
        ]
    )


async def _end_request(request: Request, gone: User, services: Services) -> None:
    if request.requester == gone:
        await cancel(services, request, "offline")
    elif await services.stores.requests.take(request.id) is not None:
        reject(services, request, "offline")


async def _clean_up(session_id: str, user: User, reason: EndReason, services: Services) -> None:
    with suppress(EventError):  # it is over by now, or the user out of it
        await membership.part(services, session_id, user, reason)
