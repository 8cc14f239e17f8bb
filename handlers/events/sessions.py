"""Sessions of more than two: inviting, leaving, and what a host may do (docs/protocol.md section 8)."""

from msgspec.structs import replace
from schemas.connections import ConnectionPending
from schemas.errors import ErrorCode, EventError
from schemas.sessions import (
    SessionEnd,
    SessionEnded,
    SessionHandover,
    SessionInvite,
    SessionKick,
    SessionLeave,
    SessionList,
    SessionRole,
    Sessions,
    SessionState,
)
from stores.model import Session, User

from handlers.context import Context
from handlers.domain import membership
from handlers.events.connections import UNASKABLE, add_request, send_request, take_back
from handlers.table import HandlerTable

OUTSIDE = (ErrorCode.SESSION_NOT_FOUND, ErrorCode.NOT_A_PARTICIPANT)

table = HandlerTable()


@table.on("SESSION_INVITE", errors=(*OUTSIDE, *UNASKABLE))
async def invite(message: SessionInvite, ctx: Context) -> ConnectionPending | None:
    """Ask a peer into the session, by a connection request that names it; only the host may."""
    session = membership.find(ctx.directory, message.session_id)
    membership.check_host(session, ctx.user)
    if User(message.target_id, ctx.user.org) in session.participants:
        raise EventError(ErrorCode.INVALID_DATA, f"targetId: {message.target_id!r} is a participant already")
    invitation = await add_request(message.target_id, ctx, session.id, message.role or "guest")
    try:
        membership.check_host(membership.find(ctx.directory, session.id), ctx.user)
    except EventError:  # it ended, or was handed over, just now
        await take_back(invitation, ctx)
        raise
    return await send_request(invitation, ctx)


@table.on("SESSION_LEAVE", errors=OUTSIDE)
async def leave(message: SessionLeave, ctx: Context) -> None:
    """Go out; when the host goes, the guest who is there longest becomes host."""
    await membership.part(ctx.services, message.session_id, ctx.user, "left", ctx.socket)


@table.on("SESSION_KICK", errors=OUTSIDE)
async def kick(message: SessionKick, ctx: Context) -> None:
    """Throw a participant out. To a host that this leaves alone, the session has `ended`: it was not kicked itself."""
    target = User(message.target_id, ctx.user.org)

    def decide(session: Session) -> Session | None:
        _check_host_of_other(session, target, ctx)
        return membership.without(session, target, ctx.directory)

    before, after = await membership.change(ctx.services, message.session_id, decide)
    ctx.services.audit.note("kicked", target, by_id=ctx.user.id, session_id=before.id)
    ctx.delivery.send((target,), SessionEnded(session_id=before.id, reason="kicked"))
    membership.tell_parted(ctx.services, before, after, target, kind="kicked", reason="ended", payer=ctx.socket)


@table.on("SESSION_ROLE", errors=OUTSIDE)
async def give_role(message: SessionRole, ctx: Context) -> None:
    """Make another participant guest or observer."""
    target = User(message.target_id, ctx.user.org)

    def decide(session: Session) -> Session:
        _check_host_of_other(session, target, ctx)
        return replace(session, participants={**session.participants, target: message.role})

    _, after = await membership.change(ctx.services, message.session_id, decide)
    membership.tell(ctx.services, after, "role", target, ctx.socket)


@table.on("SESSION_HANDOVER", errors=OUTSIDE)
async def hand_over(message: SessionHandover, ctx: Context) -> None:
    """Make another participant the host; the old one is a guest then."""
    target = User(message.target_id, ctx.user.org)

    def decide(session: Session) -> Session:
        _check_host_of_other(session, target, ctx)
        return membership.with_host(session, target)

    _, after = await membership.change(ctx.services, message.session_id, decide)
    membership.tell(ctx.services, after, "host", target, ctx.socket)


@table.on("SESSION_END", errors=OUTSIDE)
async def end(message: SessionEnd, ctx: Context) -> None:
    """End the session for all, oneself included."""

    def decide(session: Session) -> None:
        membership.check_host(session, ctx.user)

    before, _ = await membership.change(ctx.services, message.session_id, decide)
    ctx.services.audit.note("ended", ctx.user, session_id=before.id)
    ctx.delivery.send(before.participants, SessionEnded(session_id=before.id, reason="ended"))


@table.on("SESSION_LIST")
def list_sessions(_message: SessionList, ctx: Context) -> Sessions:
    """List one's own sessions, for an editor that was restarted."""
    return Sessions(
        sessions=[
            SessionState(
                session_id=session.id,
                host_id=session.host.id,
                participants=membership.participants(ctx.directory, session),
            )
            for session in ctx.directory.sessions_of(ctx.user)
        ]
    )


def _check_host_of_other(session: Session, target: User, ctx: Context) -> None:
    membership.check_host(session, ctx.user)
    if target == ctx.user:
        raise EventError(ErrorCode.INVALID_DATA, "targetId: it may be another participant than yourself")
    membership.check_participant(session, target, f"{target.id!r} is")
