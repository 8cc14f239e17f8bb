"""SEND_MESSAGE: the data plane."""

from collections.abc import Collection

from msgspec import Raw, Struct
from schemas.errors import ErrorCode, EventError
from schemas.messages import AddressedMessage, MessageAck, MessageReceived, SendMessage
from stores.base import Sent, SentLog, Session, User

from handlers.ports import MessageKey, Receipt, Socket
from handlers.table import Context, HandlerTable

table = HandlerTable()


class _Pending(Struct, frozen=True):
    """A message of which it is not known yet what becomes of it; the receipt will have that."""

    log: SentLog
    message_id: str
    sent: Sent
    receipt: Receipt

    def __call__(self) -> None:
        """Note what became of it, and acknowledge it to all who asked."""
        sent = _concluded(self.sent.at, self.sent.timestamp, self.receipt)
        self.log.add(self.message_id, sent)
        for acknowledge in self.sent.waiting or ():
            acknowledge(sent)


class _Later(Struct, frozen=True):
    """An acknowledgement that has to wait; it is a duplicate's unless the message still has its `first` timestamp."""

    socket: Socket
    ref: Raw | None
    message_id: str
    session: Session
    first: str | None

    def __call__(self, sent: Sent) -> None:
        """Send it, now that it is known what became of the message."""
        is_duplicate = sent.timestamp != self.first
        self.socket.send(_ack(self.message_id, self.session, sent, is_duplicate=is_duplicate), self.ref)


@table.on("SEND_MESSAGE", errors=(ErrorCode.SESSION_NOT_FOUND, ErrorCode.NOT_A_PARTICIPANT, ErrorCode.NOT_ALLOWED))
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
    ctx.delivery.send(session.participants, received, about=ctx.user)
    return None


def _send_addressed(message: SendMessage, session: Session, ctx: Context) -> MessageAck | None:
    """Send to some, or with an acknowledgement, or both. What was acknowledged before is not sent again."""
    receivers = session.participants if message.to is None else _chosen(message.to, session, ctx)
    message_id = message.message_id if "acks" in ctx.socket.spoken else None
    if message_id is None:
        ctx.delivery.send(receivers, _addressed(message, None, session, ctx), about=ctx.user)
        return None
    now = ctx.clock.now()
    log = ctx.stores.sent.log(session.id, ctx.user)
    sent = log.find(message_id, now)
    if sent is not None:
        return _acknowledge(sent, message_id, session, ctx, is_duplicate=True)
    received, receipt = _addressed(message, message_id, session, ctx), Receipt()
    key = MessageKey.of(session.id, ctx.user.id, message_id, received.timestamp)
    ctx.delivery.send(receivers, received, about=ctx.user, receipt=receipt, key=key)
    if not receipt.pending:
        sent = _concluded(now, received.timestamp, receipt)
        log.add(message_id, sent)
        return _ack(message_id, session, sent, is_duplicate=receipt.first is not None)
    pending = Sent(now, received.timestamp, waiting=[])
    log.add(message_id, pending)
    receipt.when_whole(_Pending(log, message_id, pending, receipt))
    return _acknowledge(pending, message_id, session, ctx)


def _acknowledge(
    sent: Sent, message_id: str, session: Session, ctx: Context, *, is_duplicate: bool = False
) -> MessageAck | None:
    """Return the acknowledgement, or have it follow once it is known what became of the message."""
    if sent.waiting is None:
        return _ack(message_id, session, sent, is_duplicate=is_duplicate)
    first = None if is_duplicate else sent.timestamp  # not `sent`, which would then hold itself
    sent.waiting.append(_Later(ctx.socket, ctx.take_ref(), message_id, session, first))
    return None


def _concluded(at: float, timestamp: str, receipt: Receipt) -> Sent:
    delivered, queued = receipt.delivered, receipt.queued
    if (delivered and queued) or delivered[1:] or queued[1:]:  # several, or one who moved meanwhile and is named twice
        delivered = tuple(dict.fromkeys(delivered))
        queued = tuple(each for each in dict.fromkeys(queued) if each not in delivered)
    return Sent(at, receipt.first or timestamp, delivered, queued)


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


def _addressed(message: SendMessage, message_id: str | None, session: Session, ctx: Context) -> AddressedMessage:
    return AddressedMessage(
        session_id=session.id,
        sender=ctx.user.id,
        content=message.content,
        type=message.type,
        correlation_id=message.correlation_id,
        timestamp=ctx.clock.timestamp(),
        message_id=message_id,
        to=message.to,
    )


def _ack(message_id: str, session: Session, sent: Sent, *, is_duplicate: bool = False) -> MessageAck:
    return MessageAck(
        message_id=message_id,
        session_id=session.id,
        timestamp=sent.timestamp,
        delivered=sent.delivered,
        queued=sent.queued,
        duplicate=is_duplicate or None,
    )
