"""SEND_MESSAGE: the data plane."""

from collections.abc import Collection, Iterable
from functools import partial

from msgspec import Raw
from schemas.errors import ErrorCode, EventError
from schemas.events import Ok
from schemas.messages import AddressedMessage, MessageAck, MessageReceived, SendMessage
from stores.log import MessageKey
from stores.model import Session, User

from handlers.context import Context, log_full
from handlers.ports import Receipt
from handlers.table import HandlerTable

table = HandlerTable()


@table.on(
    "SEND_MESSAGE",
    errors=(
        ErrorCode.SESSION_NOT_FOUND,
        ErrorCode.NOT_A_PARTICIPANT,
        ErrorCode.NOT_ALLOWED,
        ErrorCode.LOG_FULL,
        ErrorCode.STORE_UNREACHABLE,
    ),
)
def send_message(message: SendMessage, ctx: Context) -> MessageAck | None:
    """Pass the content on to every other participant, as it came."""
    session = ctx.directory.session(message.session_id)
    if session is None:
        raise EventError(ErrorCode.SESSION_NOT_FOUND, "No such session: it never was, or is over")
    role = session.participants.get(ctx.user)
    if role is None:
        raise EventError(ErrorCode.NOT_A_PARTICIPANT, "You are not a participant of this session")
    if role == "observer":
        raise EventError(ErrorCode.NOT_ALLOWED, "An observer reads but does not send")
    if message.message_id is not None or message.to is not None:
        return _send_addressed(message, session, ctx)
    received = MessageReceived(
        session_id=session.id,
        sender=ctx.user.id,
        content=message.content,
        type=message.type,
        correlation_id=message.correlation_id,
        timestamp=ctx.clock.timestamp(),
    )
    _pass_on(session.participants, received, ctx)
    return None


def _send_addressed(message: SendMessage, session: Session, ctx: Context) -> MessageAck | None:
    """Send to some, or with an acknowledgement, or both. A message that its receivers have had is not sent again."""
    receivers = session.participants if message.to is None else _chosen(message.to, session, ctx)
    message_id = message.heard_from(ctx.socket.spoken).message_id
    sent_at = int(ctx.clock.now() * 1000)
    timestamp = _timestamp(sent_at, ctx)
    received = _addressed(message, message_id, session, timestamp, ctx)
    if message_id is None:
        _pass_on(receivers, received, ctx)
        return None
    receipt = Receipt()
    key = MessageKey.of(session.id, ctx.user, message_id, sent_at)
    ctx.delivery.send(receivers, received, about=ctx.user, receipt=receipt, key=key)
    if not receipt.pending:
        return _ack(message_id, session.id, timestamp, ctx, receipt)
    ref = ctx.take_ref()
    receipt.on_complete(lambda whole: ctx.socket.send(_ack(message_id, session.id, timestamp, ctx, whole), ref))
    return None


def _pass_on(receivers: Iterable[User], received: MessageReceived, ctx: Context) -> None:
    """Send what is not acknowledged. A message with a `ref` is answered once it is known who had no room for it."""
    if ctx.ref is None:
        ctx.delivery.send(receivers, received, about=ctx.user, refused=ctx.tell_full)
        return
    receipt = Receipt()
    ctx.delivery.send(receivers, received, about=ctx.user, receipt=receipt)
    receipt.on_complete(partial(_answer, ctx, ctx.take_ref()))


def _answer(ctx: Context, ref: Raw | None, receipt: Receipt) -> None:
    for user_id in receipt.full:
        ctx.socket.send(log_full(User(user_id, ctx.user.org)), ref)
        ref = None
    if not receipt.full:
        ctx.socket.send(Ok(), ref)


def _timestamp(sent_at: int, ctx: Context) -> str:
    """Return a time in milliseconds as events show it; the half keeps rounding from changing it."""
    return ctx.clock.timestamp_of((sent_at + 0.5) / 1000)


def _chosen(ids: Collection[str], session: Session, ctx: Context) -> list[User]:
    users = [User(each, ctx.user.org) for each in dict.fromkeys(ids)]
    if not users:
        raise EventError(ErrorCode.INVALID_DATA, "SEND_MESSAGE: to: it may not be empty; leave it out to send to all")
    if ctx.user in users:
        raise EventError(ErrorCode.INVALID_DATA, "SEND_MESSAGE: to: it may not name yourself")
    for user in users:
        if user not in session.participants:
            raise EventError(ErrorCode.NOT_A_PARTICIPANT, f"{user.id!r} is not a participant of this session")
    return users


def _addressed(
    message: SendMessage, message_id: str | None, session: Session, timestamp: str, ctx: Context
) -> AddressedMessage:
    return AddressedMessage(
        session_id=session.id,
        sender=ctx.user.id,
        content=message.content,
        type=message.type,
        correlation_id=message.correlation_id,
        timestamp=timestamp,
        message_id=message_id,
        to=message.to,
    )


def _ack(message_id: str, session_id: str, timestamp: str, ctx: Context, receipt: Receipt) -> MessageAck:
    first = receipt.first_sent_at
    return MessageAck(
        message_id=message_id,
        session_id=session_id,
        timestamp=_timestamp(first, ctx) if first else timestamp,
        delivered=receipt.delivered,
        queued=receipt.queued,
        full=receipt.full or None,
        duplicate=True if first else None,
    )
