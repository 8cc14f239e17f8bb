"""PING: a sign of life."""

from schemas.auth import Ping, Pong

from handlers.ports import State
from handlers.table import Context, HandlerTable

table = HandlerTable()


@table.on("PING", needs=State.AUTHENTICATED)
def ping(_message: Ping, ctx: Context) -> Pong:
    """Answer with the server's time."""
    return Pong(timestamp=int(ctx.clock.now() * 1000))
