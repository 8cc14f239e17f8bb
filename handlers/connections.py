"""Connection requests: asking, answering, and what becomes of a request that nobody answers."""

from schemas.connections import (
    ConnectionAccepted,
    ConnectionRejected,
    ConnectionRequest,
    ConnectionRequestReceived,
    ConnectionResponse,
)
from schemas.errors import ErrorCode, EventError, RetryAfter
from schemas.fields import RejectReason
from schemas.sessions import SessionCreated
from stores.base import Peer, Request, Session, User

from handlers.ports import Services
from handlers.table import Context, HandlerTable

table = HandlerTable()


@table.on("CONNECTION_REQUEST")
async def request(message: ConnectionRequest, ctx: Context) -> None:
    """Ask a peer for a session; the request waits for its answer for a while."""
    target = _target(User(message.target_id, ctx.user.org), ctx)
    _check_pending(ctx)
    _check_sessions(ctx.user, ctx)
    request = Request(
        id=ctx.ids("req_"),
        requester=ctx.user,
        target=target.user,
        expires_at=ctx.clock.now() + ctx.limits.request_life,
    )
    await ctx.stores.requests.add(request)
    ctx.send(target.user, ConnectionRequestReceived(request_id=request.id, sender=_peer(ctx.user, ctx).card))


@table.on("CONNECTION_RESPONSE")
async def respond(message: ConnectionResponse, ctx: Context) -> None:
    """Accept or refuse a request; of several answers to one request the first counts."""
    pending = ctx.directory.request(message.request_id)
    if pending is None or pending.requester.org != ctx.user.org:
        raise _request_gone()
    if pending.target != ctx.user:
        raise EventError(ErrorCode.NOT_THE_ONE_ASKED, "This request was made to another peer")
    taken = await ctx.stores.requests.take(pending.id)
    if taken is None:
        raise _request_gone()
    if message.accepted:
        await _accept(taken, ctx)
    else:
        reject(ctx.services, taken)


async def expire_requests(services: Services) -> None:
    """Reject the requests whose time is up."""
    for expired in await services.stores.requests.take_expired(services.clock.now()):
        reject(services, expired, "expired")


def reject(services: Services, request: Request, reason: RejectReason | None = None) -> None:
    """Tell the requester that nothing comes of its request."""
    rejected = ConnectionRejected(request_id=request.id, target_id=request.target.id, reason=reason)
    services.delivery.send((request.requester,), rejected, about=request.target)


async def _accept(request: Request, ctx: Context) -> None:
    try:
        for user in (ctx.user, request.requester):
            _check_sessions(user, ctx)
    except EventError:
        reject(ctx.services, request, "full")
        raise
    requester = _peer(request.requester, ctx)
    session = Session(
        id=ctx.ids("ses_"),
        host=request.requester,
        participants={request.requester: "host", ctx.user: "guest"},
    )
    await ctx.stores.sessions.put(session)
    if ctx.directory.peer(request.requester) is None:
        await ctx.stores.sessions.remove(session.id)  # the requester left meanwhile
        raise _request_gone()
    accepted = ConnectionAccepted(request_id=request.id, session_id=session.id, peer=_peer(ctx.user, ctx).card)
    ctx.send(request.requester, accepted)
    created = SessionCreated(session_id=session.id, peer=requester.card)
    ctx.delivery.send((ctx.user,), created, about=requester.user, ref=ctx.take_ref())


def _target(user: User, ctx: Context) -> Peer:
    if user == ctx.user:
        raise EventError(ErrorCode.REQUEST_TO_ONESELF, "A connection request needs another peer than yourself")
    target = ctx.directory.peer(user)
    if target is None:
        raise EventError(ErrorCode.PEER_NOT_FOUND, f"No peer has the id {user.id!r}")
    if not target.is_present:
        raise EventError(ErrorCode.TARGET_OFFLINE, f"The peer {user.id!r} is offline")
    return target


def _peer(user: User, ctx: Context) -> Peer:
    peer = ctx.directory.peer(user)
    if peer is None:
        raise _request_gone()
    return peer


def _check_pending(ctx: Context) -> None:
    mine = [request for request in ctx.directory.requests_of(ctx.user) if request.requester == ctx.user]
    if len(mine) >= ctx.limits.requests_per_user:
        wait = max(0.0, mine[0].expires_at - ctx.clock.now())
        message = f"{len(mine)} of your requests wait for an answer; no more are allowed"
        raise EventError(ErrorCode.RATE_LIMITED, message, RetryAfter(retry_after_ms=int(wait * 1000)))


def _check_sessions(user: User, ctx: Context) -> None:
    if len(ctx.directory.sessions_of(user)) >= ctx.limits.sessions_per_user:
        raise EventError(
            ErrorCode.SESSION_FULL,
            f"{user.id!r} is in {ctx.limits.sessions_per_user} sessions, no more are allowed",
        )


def _request_gone() -> EventError:
    return EventError(ErrorCode.REQUEST_NOT_FOUND, "No such request: it never was, is answered, or expired")
