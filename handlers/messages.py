"""SEND_MESSAGE: the data plane."""

from schemas.errors import ErrorCode, EventError
from schemas.messages import MessageReceived, SendMessage

from handlers.table import Context, HandlerTable

table = HandlerTable()


@table.on("SEND_MESSAGE")
def send_message(message: SendMessage, ctx: Context) -> None:
    """Pass the content on to every other participant, as it came."""
    session = ctx.directory.session(message.session_id)
    if session is None:
        raise EventError(ErrorCode.SESSION_NOT_FOUND, "No such session: it never was, or is over")
    role = session.participants.get(ctx.user)
    if role is None:
        raise EventError(ErrorCode.NOT_A_PARTICIPANT, "You are not a participant of this session")
    if role == "observer":
        raise EventError(ErrorCode.NOT_ALLOWED, "An observer reads but does not send")
    received = MessageReceived(
        session_id=session.id,
        sender=ctx.user.id,
        content=message.content,
        type=message.type,
        correlation_id=message.correlation_id,
        timestamp=ctx.clock.timestamp(),
    )
    ctx.delivery.send(session.participants, received, about=ctx.user)
