"""A plugin: SHOUT reaches the others of a session in capitals. Serve it with PLUGINS=docs.examples.shout."""

from typing import ClassVar

from handlers.context import Context
from handlers.table import HandlerTable
from schemas.errors import ErrorCode, EventError
from schemas.events import ClientEvent, ServerEvent
from schemas.fields import Id, Label

table = HandlerTable()


class Shout(ClientEvent, frozen=True):
    """Calls something out to the other participants of a session."""

    session_id: Id
    text: Label


class Shouted(ServerEvent, frozen=True):
    """Another participant called something out."""

    event: ClassVar[str] = "SHOUTED"
    session_id: str
    by: str
    text: str


@table.on("SHOUT")
def shout(message: Shout, ctx: Context) -> None:
    """Pass the text on, louder."""
    session = ctx.directory.session(message.session_id)
    if session is None or ctx.user not in session.participants:
        raise EventError(ErrorCode.NOT_A_PARTICIPANT, "You are not a participant of this session")
    shouted = Shouted(session_id=session.id, by=ctx.user.id, text=message.text.upper())
    ctx.delivery.send(session.participants, shouted, about=ctx.user)
