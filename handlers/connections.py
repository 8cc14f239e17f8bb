"""Connection requests: asking, answering, and what becomes of a request that nobody answers."""

from msgspec.structs import replace
from schemas.connections import (
    ConnectionAccepted,
    ConnectionCancel,
    ConnectionPending,
    ConnectionRequest,
    ConnectionRequestReceived,
    ConnectionResponse,
)
from schemas.errors import ErrorCode, EventError, Limit, RetryAfter
from schemas.events import Ok
from schemas.fields import Role
from schemas.sessions import SessionCreated
from stores.base import Peer, Request, Session, User

from handlers import membership
from handlers.ports import Services
from handlers.requests import cancel, reject
from handlers.table import Context, HandlerTable

UNASKABLE = (
    ErrorCode.PEER_NOT_FOUND,
    ErrorCode.TARGET_OFFLINE,
    ErrorCode.REQUEST_TO_ONESELF,
    ErrorCode.REQUEST_NOT_FOUND,
)

table = HandlerTable()


@table.on("CONNECTION_REQUEST", errors=(ErrorCode.SESSION_FULL, *UNASKABLE))
async def request(message: ConnectionRequest, ctx: Context) -> ConnectionPending | None:
    """Ask a peer for a session; the request waits for its answer for a while."""
    _check_sessions(ctx.user, ctx)
    return await ask(message.target_id, ctx)


async def ask(
    target_id: str, ctx: Context, session_id: str | None = None, role: Role | None = None
) -> ConnectionPending | None:
    """Make a request to a peer, for a new session or into this one; who gave a `ref` is told of what is pending."""
    target = await _target(User(target_id, ctx.user.org), ctx)
    _check_pending(ctx)
    request = Request(
        id=ctx.ids("req_"),
        requester=ctx.user,
        target=target.user,
        expires_at=ctx.clock.now() + ctx.limits.request_life,
        session_id=session_id,
        role=role,
    )
    await ctx.stores.requests.add(request)
    sender = _peer(ctx.user, ctx).card
    received = ConnectionRequestReceived(request_id=request.id, sender=sender, session_id=session_id, role=role)
    ctx.send(target.user, received)
    if ctx.ref is None:
        return None
    expires_at = ctx.clock.timestamp_of(request.expires_at)
    return ConnectionPending(request_id=request.id, target_id=target_id, expires_at=expires_at)


@table.on(
    "CONNECTION_RESPONSE",
    answers=(SessionCreated, Ok),
    errors=(ErrorCode.REQUEST_NOT_FOUND, ErrorCode.NOT_THE_ONE_ASKED, ErrorCode.SESSION_FULL),
)
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


@table.on("CONNECTION_CANCEL", capability="sessions", errors=(ErrorCode.REQUEST_NOT_FOUND,))
async def withdraw(message: ConnectionCancel, ctx: Context) -> None:
    """Take a request of one's own back; to all but its two sides there is no such request."""
    pending = ctx.directory.request(message.request_id)
    if pending is None or ctx.user not in (pending.requester, pending.target):
        raise _request_gone()
    if pending.target == ctx.user:
        raise EventError(ErrorCode.NOT_ALLOWED, "Only its requester may cancel a request; refuse it instead")
    if not await cancel(ctx.services, pending):
        raise _request_gone()


async def expire_requests(services: Services) -> None:
    """Reject the requests whose time is up."""
    for expired in await services.stores.requests.take_expired(services.clock.now()):
        reject(services, expired, "expired")


async def _accept(request: Request, ctx: Context) -> None:
    """Bring the two together; where there is no room for that, both are told."""
    requester, responder = _peer(request.requester, ctx), _peer(ctx.user, ctx)
    session_id = request.session_id
    try:
        session = await (_make(request, ctx) if session_id is None else _join(session_id, request, ctx))
    except EventError as refusal:
        if refusal.code is ErrorCode.SESSION_FULL:
            reject(ctx.services, request, "full")
        if refusal.code is ErrorCode.SESSION_NOT_FOUND:
            raise _request_gone() from None
        raise
    ctx.services.audit.note(
        "accepted", ctx.user, request_id=request.id, requester_id=requester.user.id, session_id=session.id
    )
    accepted = ConnectionAccepted(request_id=request.id, session_id=session.id, peer=responder.card)
    ctx.send(requester.user, accepted)
    created = SessionCreated(session_id=session.id, peer=requester.card)
    ctx.delivery.send((ctx.user,), created, about=requester.user, ref=ctx.take_ref())
    membership.tell(ctx.services, session, "joined", ctx.user)


async def _make(request: Request, ctx: Context) -> Session:
    for user in (ctx.user, request.requester):
        _check_sessions(user, ctx)
    session = Session(
        id=ctx.ids("ses_"),
        host=request.requester,
        participants={request.requester: "host", ctx.user: "guest"},
    )
    await ctx.stores.sessions.put(session)
    if ctx.directory.peer(request.requester) is None:
        await ctx.stores.sessions.swap(session, None)  # the requester left meanwhile
        raise _request_gone()
    return session


async def _join(session_id: str, invitation: Request, ctx: Context) -> Session:
    """Join as invited; whatever else invited the same peer to the same session is void then."""

    def decide(session: Session) -> Session:
        if session.host != invitation.requester or ctx.user in session.participants:
            raise _request_gone()
        _check_room(session, ctx)
        _check_sessions(ctx.user, ctx)
        return replace(session, participants={**session.participants, ctx.user: invitation.role or "guest"})

    _, joined = await membership.change(ctx.services, session_id, decide)
    for other in ctx.directory.requests_of(ctx.user):
        if other.session_id == session_id:
            await cancel(ctx.services, other)
    return joined


async def _target(user: User, ctx: Context) -> Peer:
    """Return a peer that can be asked; one of another node may be there, or back, and not be known here yet."""
    if user == ctx.user:
        raise EventError(ErrorCode.REQUEST_TO_ONESELF, "A connection request needs another peer than yourself")
    target = ctx.directory.peer(user)
    if target is None or not target.is_present:
        target = await ctx.stores.peers.find(user)
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
        retry = RetryAfter(retry_after_ms=int(wait * 1000))
        raise EventError(ErrorCode.RATE_LIMITED, message, retry, limit=Limit.PENDING_REQUESTS)


def _check_room(session: Session, ctx: Context) -> None:
    if len(session.participants) >= ctx.limits.session_participants:
        message = f"The session has {len(session.participants)} participants, no more are allowed"
        raise EventError(ErrorCode.SESSION_FULL, message, limit=Limit.PARTICIPANTS)


def _check_sessions(user: User, ctx: Context) -> None:
    if len(ctx.directory.sessions_of(user)) >= ctx.limits.sessions_per_user:
        raise EventError(
            ErrorCode.SESSION_FULL,
            f"{user.id!r} is in {ctx.limits.sessions_per_user} sessions, no more are allowed",
            limit=Limit.SESSIONS,
        )


def _request_gone() -> EventError:
    return EventError(ErrorCode.REQUEST_NOT_FOUND, "No such request: it never was, is answered, or expired")
