"""AUTH: from a token to a user."""

import msgspec
from msgspec import Raw
from msgspec.structs import replace
from schemas.auth import Auth, AuthFailed, AuthSuccess
from schemas.errors import CloseCode, ErrorCode, EventError
from stores.base import User

from handlers.ports import Identity, State
from handlers.table import Context, HandlerTable

table = HandlerTable()


@table.on("AUTH", needs=State.CONNECTED)
async def authenticate(message: Auth, ctx: Context) -> AuthSuccess | None:
    """Let the socket in, superseding the user's other one; on an authenticated socket, renew its token."""
    try:
        identity = ctx.tokens.verify(_token(message.token))
        _check_same_user(identity, ctx)
    except EventError as refusal:
        ctx.socket.send(AuthFailed(code=refusal.code, message=refusal.message))
        ctx.socket.close(CloseCode.UNAUTHENTICATED, "Authentication failed")
        return None
    if ctx.socket.state is State.CONNECTED:
        await _supersede(identity.user, ctx)
    ctx.socket.authenticated(identity)
    return AuthSuccess(user_id=identity.user.id, display_name=identity.display_name, email=identity.email)


def _token(raw: Raw) -> str | None:
    try:
        return msgspec.json.decode(raw, type=str | None)
    except (msgspec.MsgspecError, RecursionError):
        raise EventError(ErrorCode.TOKEN_INVALID, "The access token is invalid: it is no string") from None


def _check_same_user(identity: Identity, ctx: Context) -> None:
    if ctx.socket.state is not State.CONNECTED and identity.user != ctx.user:
        raise EventError(ErrorCode.TOKEN_INVALID, "The token is of another user than this socket's")


async def _supersede(user: User, ctx: Context) -> None:
    """Claim the user for this socket. Until it registers, a registered user counts as dropped, its grace running."""
    previous = await ctx.stores.peers.claim(user, ctx.socket.holder)
    if previous is None:
        return
    peer = ctx.directory.peer(user)
    if peer is not None and peer.lapses_at is None:
        ctx.delivery.detach(user)
        await ctx.stores.peers.put(replace(peer, lapses_at=ctx.clock.now() + ctx.limits.session_grace))
    ctx.delivery.supersede(previous)
