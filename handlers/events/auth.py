"""AUTH: from a token to a user."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from msgspec import Raw
from msgspec.structs import replace
from schemas.auth import Auth, AuthFailed, AuthSuccess, Resumption, Server, SocketLimits
from schemas.capabilities import CAPABILITIES, VERSION_1_1, Spoken, spoken
from schemas.errors import CloseCode, Error, ErrorCode, EventError
from stores.model import Peer, User
from stores.protocols import StoreUnreachableError, SupersededError

from handlers.context import Context
from handlers.domain import disconnects, membership
from handlers.domain.requests import tell_waiting
from handlers.ports import Identity, State
from handlers.table import HandlerTable

table = HandlerTable()


@table.on(
    "AUTH",
    needs=State.CONNECTED,
    answers=(AuthSuccess, AuthFailed),
    errors=(ErrorCode.TOKEN_MISSING, ErrorCode.TOKEN_INVALID, ErrorCode.TOKEN_EXPIRED, ErrorCode.RATE_LIMITED),
)
async def authenticate(message: Auth, ctx: Context) -> None:
    """Let the socket in, superseding the user's other one; on an authenticated socket, renew its token."""
    try:
        identity = await _identify(message, ctx)
    except EventError as refusal:
        _refuse(refusal, ctx)
        return
    if ctx.socket.state is not State.CONNECTED:
        await _renew(identity, ctx)
    elif _is_admitted(identity, ctx):
        await _enter(message, identity, ctx)


def _is_admitted(identity: Identity, ctx: Context) -> bool:
    """Send a socket away with 4029, before it costs more, if its user logs in too often."""
    try:
        ctx.services.logins.admit(identity.user, ctx.socket.address)
    except EventError as refusal:
        ctx.answer(Error(code=refusal.code, message=refusal.message, details=refusal.details))
        ctx.socket.close(CloseCode.RATE_LIMITED, "Too many logins")
        return False
    return True


async def _identify(message: Auth, ctx: Context) -> Identity:
    """Return whom the token names; raises `EventError`. A socket that is in need not wait to renew its token."""
    throttle, address = ctx.services.auth_throttle, ctx.socket.address
    if ctx.socket.state is State.CONNECTED:
        return await ctx.tokens.verify(_token(message.token), lambda: throttle.look(address))
    identity = await ctx.tokens.verify(_token(message.token))
    if identity.user != ctx.user:
        raise EventError(ErrorCode.TOKEN_INVALID, "The token is of another user than this socket's")
    return identity


def _refuse(refusal: EventError, ctx: Context) -> None:
    """Send a socket away: with 4001, or while its address is throttled with 4029, since its token may be good."""
    answer = ctx.services.auth_throttle.failed(ctx.socket.address, refusal)
    if answer.code is ErrorCode.RATE_LIMITED and ctx.socket.state is State.CONNECTED:
        ctx.answer(Error(code=answer.code, message=answer.message, details=answer.details))
        ctx.socket.close(CloseCode.RATE_LIMITED, "Too many failed authentications")
    else:
        ctx.answer(AuthFailed(code=refusal.code, message=refusal.message))
        ctx.socket.close(CloseCode.UNAUTHENTICATED, "Authentication failed")


def _token(raw: Raw) -> str | None:
    try:
        return msgspec.json.decode(raw, type=str | None)
    except (msgspec.MsgspecError, RecursionError):
        raise EventError(ErrorCode.TOKEN_INVALID, "The access token is invalid: it is not a string") from None


async def _enter(message: Auth, identity: Identity, ctx: Context) -> None:
    """Claim the user for this socket, and let it in, unless a newer socket of the user has the claim.

    A node that stood still finds an `AUTH` and the loss of that connection together, the loss while the token is
    verified. The client may be back elsewhere, so the loss counts first.
    """
    if ctx.socket.is_lost:
        return
    try:
        await _supersede(identity.user, ctx)
        await _let_in(message, identity, ctx)
    except SupersededError:
        ctx.delivery.supersede(ctx.socket.holder)


async def _let_in(message: Auth, identity: Identity, ctx: Context) -> None:
    """Authenticate the socket that holds the user's claim; raises `SupersededError` if it does not any more.

    Whether its token is revoked is asked again once the socket is the user's: a revocation that came since the token
    was verified could not find the socket. One that comes later does.
    A socket that is only half in, since the store was lost, is closed: a second `AUTH` would only renew its token.
    """
    ctx.socket.authenticated(identity, spoken(message.capabilities, ctx.services.capabilities))
    _audit(message, identity, ctx)
    with _closing_halfway(ctx):
        if await disconnects.is_revoked(identity, ctx.services):
            ctx.answer(AuthFailed(code=ErrorCode.TOKEN_INVALID, message="The access token is invalid: it was revoked"))
            ctx.socket.close(CloseCode.UNAUTHENTICATED, "The access token was revoked")
            return
        await _begin(message, identity, ctx)
    ctx.socket.renewed(identity)


async def _renew(identity: Identity, ctx: Context) -> None:
    """Go by another token of the user from now on. Whether it is revoked is asked again, as in `_enter`."""
    ctx.answer(_success(identity))
    ctx.services.audit.note("renewed", identity.user, token_id=identity.token_id, socket_id=ctx.socket.holder.socket)
    ctx.socket.renewed(identity)
    with _closing_halfway(ctx):
        if await disconnects.is_revoked(identity, ctx.services):
            ctx.socket.send(Error(code=ErrorCode.TOKEN_INVALID, message="The access token was revoked"))
            ctx.socket.close(CloseCode.UNAUTHENTICATED, "The access token was revoked")


@contextmanager
def _closing_halfway(ctx: Context) -> Iterator[None]:
    """Close the socket if the store is lost before all is done."""
    try:
        yield
    except StoreUnreachableError:
        ctx.socket.close(CloseCode.RESTART, "The store was lost halfway; connect again")
        raise


async def _begin(message: Auth, identity: Identity, ctx: Context) -> None:
    """Go on where the user's last socket left off, if it asks for that and it can be, or start over."""
    speaks = ctx.socket.spoken
    peer = ctx.directory.peer(identity.user) if message.resume is None else await ctx.stores.peers.find(identity.user)
    if peer is not None and peer.is_present:
        token = await _recover(message, ctx)
        if token is not None:
            ctx.answer(_success_1_1(identity, speaks, token, ctx, is_recovered=True))
            await _restore(peer, ctx)
            return
    token = await ctx.delivery.admit(identity.user, ctx.socket)
    if peer is not None and peer.is_present and await _drop(peer, ctx):
        membership.tell_dropped(ctx.services, peer, ctx.socket)
    is_modern = VERSION_1_1 in speaks
    ctx.answer(_success_1_1(identity, speaks, token, ctx) if is_modern else _success(identity))


async def _supersede(user: User, ctx: Context) -> None:
    previous = await ctx.stores.peers.claim(user, ctx.socket.holder)
    if previous is not None:
        peer = ctx.directory.peer(user)
        if peer is not None and peer.lapses_at is None:
            ctx.delivery.detach(user)
        ctx.delivery.supersede(previous)
        ctx.services.audit.note(
            "superseded", user, node=previous.node, socket_id=previous.socket, by_socket_id=ctx.socket.holder.socket
        )


def _audit(message: Auth, identity: Identity, ctx: Context) -> None:
    client, holder = message.client, ctx.socket.holder
    ctx.services.audit.note(
        "authenticated",
        identity.user,
        token_id=identity.token_id,
        node=holder.node,
        socket_id=holder.socket,
        address=ctx.socket.address,
        client=None if client is None else client.name,
        client_version=None if client is None else client.version,
    )


async def _recover(message: Auth, ctx: Context) -> str | None:
    """Return the next token to resume with, if the registered user has nothing of what came for it missing."""
    if message.resume is None or "resume" not in ctx.socket.spoken:
        return None
    return await ctx.delivery.recover(ctx.user, message.resume, ctx.socket)


async def _restore(peer: Peer, ctx: Context) -> None:
    """Register the peer as it was, over this socket; what was kept for it follows."""
    back = replace(
        peer,
        lapses_at=None,
        is_resumable=False,
        address=ctx.socket.address,
        spoken=ctx.socket.spoken,
        holder=ctx.socket.holder,
    )
    if await ctx.stores.peers.register(back, ctx.socket.holder) and ctx.directory.peer(ctx.user) is not None:
        ctx.socket.registered()
        ctx.services.audit.note("registered", back.user, socket_id=ctx.socket.holder.socket)
        await ctx.delivery.attach(back.user, ctx.socket)
        tell_waiting(ctx.services, back.user)
        if back.address != peer.address:
            ctx.delivery.announce(back)
        membership.tell_returned(ctx.services, peer, ctx.socket)


async def _drop(peer: Peer, ctx: Context) -> bool:
    """Keep the peer as one that lost its connection, until it registers; False if the user is elsewhere by now."""
    lapses_at = ctx.clock.now() + ctx.limits.session_grace
    dropped = replace(peer, lapses_at=lapses_at, is_resumable=False, spoken=ctx.socket.spoken)
    return await ctx.stores.peers.register(dropped, ctx.socket.holder)


def _success(identity: Identity) -> AuthSuccess:
    return AuthSuccess(user_id=identity.user.id, display_name=identity.display_name, email=identity.email)


def _success_1_1(
    identity: Identity, speaks: Spoken, token: str | None, ctx: Context, *, is_recovered: bool = False
) -> AuthSuccess:
    limits = ctx.limits
    return replace(
        _success(identity),
        capabilities=[capability for capability in CAPABILITIES if capability in speaks],
        server=Server(version=ctx.services.version),
        limits=SocketLimits(
            max_message_bytes=limits.message_bytes,
            events_per_second=limits.events_per_second,
            burst=limits.burst,
            heartbeat_seconds=limits.heartbeat_seconds,
        ),
        resume=None if token is None else Resumption(token=token, grace_seconds=limits.resume_grace),
        recovered=None if token is None else is_recovered,
    )
