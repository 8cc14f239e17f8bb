"""Who is in which session: changes that are safe beside others, and telling of them (docs/protocol.md section 8)."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from msgspec.structs import replace
from schemas.capabilities import VERSION_1
from schemas.errors import ErrorCode, EventError
from schemas.fields import ChangeKind, EndReason
from schemas.prices import PARTICIPANTS_PER_EVENT
from schemas.sessions import Change, Participant, SessionEnded, SessionUpdated
from stores.model import Peer, Session, User
from stores.protocols import Directory

from handlers.domain.requests import cancel
from handlers.ports import Services, Socket

_After = TypeVar("_After", bound=Session | None)


def find(directory: Directory, session_id: str) -> Session:
    """Return the session; raises `EventError` `ERR_3001` if there is none."""
    session = directory.session(session_id)
    if session is None:
        raise EventError(ErrorCode.SESSION_NOT_FOUND, "No such session: it never was, or is over")
    return session


async def change(services: Services, session_id: str, decide: Callable[[Session], _After]) -> tuple[Session, _After]:
    """Change the session to what `decide` makes of it, None to end it; return it as it was before and after.

    `decide` is asked again if another change came between, and raises `EventError` to refuse. Invitations die with
    the session, and when its host is host no more.
    """
    while True:
        before = find(services.stores.directory, session_id)
        after = decide(before)
        if await services.stores.sessions.swap(before, after):
            break
    if after is None or after.host != before.host:
        await cancel_invitations(services, session_id, before.host)
    return before, after


async def cancel_invitations(services: Services, session_id: str, user: User) -> None:
    """Cancel what the user sent, or got, as invitations to the session; what the store does not answer, later."""
    for request in services.stores.directory.requests_of(user):
        if request.session_id == session_id:
            await services.retries.attempt(partial(cancel, services, request))


def without(session: Session, user: User, directory: Directory) -> Session | None:
    """Return the session once a participant is out of it; None if that leaves one alone.

    A host is followed by the guest who is there longest, or if there is none by such an observer.
    """
    check_participant(session, user, "You are")
    rest = {other: role for other, role in session.participants.items() if other != user}
    if len(rest) == 1:
        return None
    left = replace(session, participants=rest)
    if user != session.host:
        return left
    heirs = [other for other in rest if directory.peer(other) is not None] or list(rest)
    return with_host(left, next((other for other in heirs if rest[other] == "guest"), heirs[0]))


def with_host(session: Session, host: User) -> Session:
    """Return the session with another participant as its host; the old one, if it is still there, is a guest."""
    roles = {**session.participants, host: "host"}
    if session.host in roles:
        roles[session.host] = "guest"
    return replace(session, host=host, participants=roles)


def check_participant(session: Session, user: User, who: str) -> None:
    """Raise `EventError` `ERR_3008` if the user is not in the session; `who` begins the text."""
    if user not in session.participants:
        raise EventError(ErrorCode.NOT_A_PARTICIPANT, f"{who} not a participant of this session")


def check_host(session: Session, user: User) -> None:
    """Raise `EventError` if the user is not in the session (`ERR_3008`), or is not its host (`ERR_1004`)."""
    check_participant(session, user, "You are")
    if session.host != user:
        raise EventError(ErrorCode.NOT_ALLOWED, f"Only the host may do this, which is {session.host.id!r}")


async def part(services: Services, session_id: str, user: User, reason: EndReason, payer: Socket | None = None) -> None:
    """Take a user out of a session and tell the others."""
    directory = services.stores.directory
    before, after = await change(services, session_id, lambda session: without(session, user, directory))
    services.audit.note("parted", user, session_id=session_id, reason=reason)
    tell_parted(services, before, after, user, kind="left", reason=reason, payer=payer)


def tell_parted(
    services: Services,
    before: Session,
    after: Session | None,
    user: User,
    *,
    kind: ChangeKind,
    reason: EndReason,
    payer: Socket | None = None,
) -> None:
    """Tell those left of who is out, and of a new host; one left alone, that the session is over."""
    if after is None:
        rest = [other for other in before.participants if other != user]
        services.delivery.send(rest, SessionEnded(session_id=before.id, reason=reason))
        return
    tell(services, after, kind, user, payer)
    if after.host != before.host:
        tell(services, after, "host", after.host, payer)


def tell(services: Services, session: Session, kind: ChangeKind, user: User, payer: Socket | None = None) -> None:
    """Tell all participants of a change, and of the session as it is after it; `payer` is the socket that caused it."""
    if payer is not None:
        payer.charge(len(session.participants) ** 2 / PARTICIPANTS_PER_EVENT)
    updated = SessionUpdated(
        session_id=session.id,
        host_id=session.host.id,
        participants=participants(services.stores.directory, session),
        change=Change(kind=kind, id=user.id),
    )
    services.delivery.send(session.participants, updated, names=(*session.participants, user))


def tell_dropped(services: Services, before: Peer, payer: Socket | None = None) -> None:
    """Tell its sessions that a peer lost its connection, unless they know: `before` is the peer as it was until now."""
    if before.lapses_at is None:
        _tell_each(services, before.user, "dropped", payer)


def tell_returned(services: Services, before: Peer | None, payer: Socket | None = None) -> None:
    """Tell its sessions that a peer is back, if it was away: `before` is the peer as it was until now."""
    if before is not None and before.lapses_at is not None:
        _tell_each(services, before.user, "returned", payer)


def participants(directory: Directory, session: Session) -> list[Participant]:
    """Return the participants as events show them; one who is just being given up is left out.

    They come without metadata, which would make each change of a session cost a megabyte: it is in `PEERS_LIST`.
    """
    peers = [peer for user in session.participants if (peer := directory.peer(user)) is not None]
    return [
        Participant(
            id=peer.user.id,
            role=session.participants[peer.user],
            profile=peer.profile.shown_to(VERSION_1),
            connected=peer.lapses_at is None,
        )
        for peer in peers
    ]


def _tell_each(services: Services, user: User, kind: ChangeKind, payer: Socket | None) -> None:
    for session in services.stores.directory.sessions_of(user):
        tell(services, session, kind, user, payer)
