"""PING: a sign of life."""

from schemas.auth import Ping, Pong

from handlers.context import Context
from handlers.ports import State
from handlers.table import HandlerTable

table = HandlerTable()


@table.on("PING", needs=State.AUTHENTICATED)
def ping(message: Ping, ctx: Context) -> Pong:
    """Answer with the server's time, and let go of what the client has handled."""
    offset = message.heard_from(ctx.socket.spoken).offset
    if offset is not None:
        ctx.delivery.handled(ctx.user, offset)
    return Pong(timestamp=int(ctx.clock.now() * 1000))
