"""Accepting a connection request: a new session of two, or one more in a session."""

from functools import partial

from msgspec.structs import replace
from schemas.connections import ConnectionAccepted
from schemas.errors import ErrorCode, EventError, Limit
from schemas.sessions import SessionCreated
from stores.model import Peer, Request, Session, User
from stores.protocols import StoreUnreachableError

from handlers.context import Context
from handlers.domain import membership
from handlers.domain.requests import reject, tell_cancelled


async def accept(request: Request, ctx: Context) -> None:
    """Bring together the two sides of a request that was taken for this socket's user; where that fails, tell both.

    If the store is unreachable the request waits again.
    """
    try:
        requester, responder = _find_peer(request.requester, ctx), _find_peer(ctx.user, ctx)
        session = await _meet(request, ctx)
    except EventError as refusal:
        _tell_refused(request, refusal.code, ctx)
        raise
    except StoreUnreachableError:
        await ctx.services.retries.attempt(partial(ctx.stores.requests.add, request))
        raise
    ctx.services.audit.note(
        "accepted", ctx.user, request_id=request.id, requester_id=requester.user.id, session_id=session.id
    )
    accepted = ConnectionAccepted(request_id=request.id, session_id=session.id, peer=responder.card)
    ctx.send(requester.user, accepted)
    created = SessionCreated(session_id=session.id, peer=requester.card)
    ctx.delivery.send((ctx.user,), created, about=requester.user, ref=ctx.take_ref())
    membership.tell(ctx.services, session, "joined", ctx.user, ctx.socket)


def check_sessions(user: User, ctx: Context) -> None:
    """Raise `EventError` `ERR_3005` if the user is in too many sessions for one more."""
    if len(ctx.directory.sessions_of(user)) >= ctx.limits.sessions_per_user:
        raise EventError(
            ErrorCode.SESSION_FULL,
            f"{user.id!r} is in {ctx.limits.sessions_per_user} sessions, no more are allowed",
            limit=Limit.SESSIONS,
        )


def request_gone() -> EventError:
    """Return the refusal of whatever needs a request that is not there."""
    return EventError(ErrorCode.REQUEST_NOT_FOUND, "No such request: it never was, is answered, or expired")


def _find_peer(user: User, ctx: Context) -> Peer:
    """Return a side of a request; raises `EventError` `ERR_6001` if it is gone, and the request with it."""
    peer = ctx.directory.peer(user)
    if peer is None:
        raise request_gone()
    return peer


def _tell_refused(request: Request, code: ErrorCode, ctx: Context) -> None:
    """Tell whoever does not get the refusal itself, and a target that its request is void."""
    if code is ErrorCode.SESSION_FULL:
        reject(ctx.services, request, "full")
    elif ctx.directory.peer(request.requester) is None:
        tell_cancelled(ctx.services, request, "offline")
    elif ctx.directory.peer(request.target) is None:
        reject(ctx.services, request, "offline")
    else:
        tell_cancelled(ctx.services, request, "cancelled")


async def _meet(request: Request, ctx: Context) -> Session:
    if request.session_id is None:
        return await _make(request, ctx)
    try:
        return await _join(request.session_id, request, ctx)
    except EventError as refusal:
        if refusal.code is ErrorCode.SESSION_NOT_FOUND:
            raise request_gone() from None
        raise


async def _make(request: Request, ctx: Context) -> Session:
    sides = ctx.user, request.requester
    for user in sides:
        check_sessions(user, ctx)
    session = Session(
        id=ctx.ids("ses_"),
        host=request.requester,
        participants={request.requester: "host", ctx.user: "guest"},
    )
    await ctx.stores.sessions.put(session)
    if any(ctx.directory.peer(user) is None for user in sides):  # one left meanwhile
        await ctx.services.retries.attempt(partial(ctx.stores.sessions.swap, session, None))
        raise request_gone()
    return session


async def _join(session_id: str, invitation: Request, ctx: Context) -> Session:
    """Join as invited; whatever else invited the same peer to the same session is void then."""

    def decide(session: Session) -> Session:
        if session.host != invitation.requester or ctx.user in session.participants:
            raise request_gone()
        _check_room(session, ctx)
        check_sessions(ctx.user, ctx)
        return replace(session, participants={**session.participants, ctx.user: invitation.role or "guest"})

    _, joined = await membership.change(ctx.services, session_id, decide)
    await membership.cancel_invitations(ctx.services, session_id, ctx.user)
    return joined


def _check_room(session: Session, ctx: Context) -> None:
    if len(session.participants) >= ctx.limits.session_participants:
        message = f"The session has {len(session.participants)} participants, no more are allowed"
        raise EventError(ErrorCode.SESSION_FULL, message, limit=Limit.PARTICIPANTS)
