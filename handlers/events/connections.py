"""Connection requests: asking, answering, and what becomes of a request that nobody answers."""

from functools import partial

from schemas.connections import (
    ConnectionCancel,
    ConnectionPending,
    ConnectionRequest,
    ConnectionResponse,
)
from schemas.errors import ErrorCode, EventError, Limit, RetryAfter
from schemas.events import Ok
from schemas.fields import Role
from schemas.sessions import SessionCreated
from stores.model import Peer, Request, User

from handlers.context import Context
from handlers.domain.acceptance import accept, check_sessions, request_gone
from handlers.domain.requests import cancel, expire, reject, tell_request
from handlers.ports import Services
from handlers.retries import run_each
from handlers.table import HandlerTable

UNASKABLE = (
    ErrorCode.LOG_FULL,
    ErrorCode.PEER_NOT_FOUND,
    ErrorCode.TARGET_OFFLINE,
    ErrorCode.REQUEST_TO_ONESELF,
    ErrorCode.REQUEST_NOT_FOUND,
)

REQUESTS_TO_ONE_AWAY = 50

table = HandlerTable()


@table.on("CONNECTION_REQUEST", answers=(SessionCreated,), errors=(ErrorCode.SESSION_FULL, *UNASKABLE))
async def request(message: ConnectionRequest, ctx: Context) -> ConnectionPending | None:
    """Ask a peer for a session; the request waits for its answer for a while."""
    crossing = _crossing(User(message.target_id, ctx.user.org), ctx)
    if crossing is not None and await _accept_crossing(crossing, ctx):
        return None
    check_sessions(ctx.user, ctx)
    mine = await add_request(message.target_id, ctx)
    crossing = _crossing(mine.target, ctx, before=mine)  # it may have come first, over another node
    if crossing is not None:
        if await ctx.stores.requests.take(mine.id) is None:
            return _pending(mine, ctx)  # the other side is accepting it: both would make a session
        if await _accept_crossing(crossing, ctx):
            return None
        await ctx.stores.requests.add(mine)
    return await send_request(mine, ctx)


async def add_request(target_id: str, ctx: Context, session_id: str | None = None, role: Role | None = None) -> Request:
    """Store a request to a peer, for a new session or into this one, without telling the peer yet."""
    target = await _target(User(target_id, ctx.user.org), ctx)
    _check_pending(ctx)
    _check_room(target, ctx)
    request = Request(
        id=ctx.ids("req_"),
        requester=ctx.user,
        target=target.user,
        expires_at=ctx.clock.now() + ctx.limits.request_life,
        session_id=session_id,
        role=role,
    )
    await ctx.stores.requests.add(request)
    return request


async def send_request(request: Request, ctx: Context) -> ConnectionPending | None:
    """Tell the target; return what is pending if the asker gave a `ref`.

    If one side left while the request was made, take it back: nobody else would end it.
    """
    sender = ctx.directory.peer(ctx.user)
    if sender is None or ctx.directory.peer(request.target) is None:
        await take_back(request, ctx)
        raise request_gone() if sender is None else _no_peer(request.target)
    tell_request(ctx.services, request, sender)
    return _pending(request, ctx)


def _pending(request: Request, ctx: Context) -> ConnectionPending | None:
    """Return the answer to an event with `ref` that made a request."""
    if ctx.ref is None:
        return None
    expires_at = ctx.clock.timestamp_of(request.expires_at)
    return ConnectionPending(request_id=request.id, target_id=request.target.id, expires_at=expires_at)


async def take_back(request: Request, ctx: Context) -> None:
    """Remove a request that its target was not told of."""
    await ctx.services.retries.attempt(partial(ctx.stores.requests.take, request.id))


@table.on(
    "CONNECTION_RESPONSE",
    answers=(SessionCreated, Ok),
    errors=(ErrorCode.REQUEST_NOT_FOUND, ErrorCode.NOT_THE_ONE_ASKED, ErrorCode.SESSION_FULL),
)
async def respond(message: ConnectionResponse, ctx: Context) -> None:
    """Accept or refuse a request; of several answers to one request the first counts."""
    pending = ctx.directory.request(message.request_id)
    if pending is None or pending.requester.org != ctx.user.org:
        raise request_gone()
    if pending.target != ctx.user:
        raise EventError(ErrorCode.NOT_THE_ONE_ASKED, "This request was made to another peer")
    taken = await ctx.stores.requests.take(pending.id)
    if taken is None:
        raise request_gone()
    if message.accepted:
        await accept(taken, ctx)
    else:
        reject(ctx.services, taken)


@table.on("CONNECTION_CANCEL", errors=(ErrorCode.REQUEST_NOT_FOUND,))
async def withdraw(message: ConnectionCancel, ctx: Context) -> None:
    """Take a request of one's own back; to all but its two sides there is no such request."""
    pending = ctx.directory.request(message.request_id)
    if pending is None or ctx.user not in (pending.requester, pending.target):
        raise request_gone()
    if pending.target == ctx.user:
        raise EventError(ErrorCode.NOT_ALLOWED, "Only its requester may cancel a request; refuse it instead")
    if not await cancel(ctx.services, pending):
        raise request_gone()


async def expire_requests(services: Services) -> None:
    """Tell both sides of the requests whose time is up."""
    expired = await services.stores.requests.take_expired(services.clock.now())
    await run_each(partial(expire, services, request) for request in expired)


def _crossing(asked: User, ctx: Context, before: Request | None = None) -> Request | None:
    """Return the oldest request of the asked peer to this one, for a new session, if both have `sessions`.

    With `before`, only one made earlier than this.
    """
    peer = ctx.directory.peer(asked)
    if peer is None or "sessions" not in peer.spoken & ctx.socket.spoken:
        return None
    for request in ctx.directory.requests_of(ctx.user):
        if request == before:
            return None
        is_between_them = (request.requester, request.target) == (asked, ctx.user)
        if is_between_them and request.session_id is None and request.expires_at > ctx.clock.now():
            return request
    return None


async def _accept_crossing(crossing: Request, ctx: Context) -> bool:
    """Accept the other's request in place of one's own; False if there is nothing to accept any more."""
    taken = await ctx.stores.requests.take(crossing.id)
    if taken is None:
        return False
    try:
        await accept(taken, ctx)
    except EventError as refusal:
        if refusal.code is ErrorCode.REQUEST_NOT_FOUND:
            raise _no_peer(crossing.requester) from None
        raise
    return True


async def _target(user: User, ctx: Context) -> Peer:
    """Return a peer that can be asked; one of another node may be there, or back, and not be known here yet."""
    if user == ctx.user:
        raise EventError(ErrorCode.REQUEST_TO_ONESELF, "A connection request needs another peer than yourself")
    target = ctx.directory.peer(user)
    if target is None or not target.is_present:
        target = await ctx.stores.peers.find(user)
    if target is None:
        raise _no_peer(user)
    if not target.is_present:
        raise EventError(ErrorCode.TARGET_OFFLINE, f"The peer {user.id!r} is offline")
    return target


def _check_pending(ctx: Context) -> None:
    mine = [request for request in ctx.directory.requests_of(ctx.user) if request.requester == ctx.user]
    if len(mine) >= ctx.limits.requests_per_user:
        wait = max(0.0, mine[0].expires_at - ctx.clock.now())
        message = f"{len(mine)} of your requests wait for an answer; no more are allowed"
        retry = RetryAfter(retry_after_ms=int(wait * 1000))
        raise EventError(ErrorCode.RATE_LIMITED, message, retry, limit=Limit.PENDING_REQUESTS)


def _check_room(target: Peer, ctx: Context) -> None:
    """Raise `EventError` `ERR_4004` if as many requests as may already wait for the return of one who is away."""
    if target.lapses_at is None:
        return
    waiting = sum(request.target == target.user for request in ctx.directory.requests_of(target.user))
    if waiting >= REQUESTS_TO_ONE_AWAY:
        raise EventError(
            ErrorCode.LOG_FULL, f"{target.user.id!r} is away, and {waiting} requests wait for it; ask once it is back"
        )


def _no_peer(user: User) -> EventError:
    return EventError(ErrorCode.PEER_NOT_FOUND, f"No peer has the id {user.id!r}")
