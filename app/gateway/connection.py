"""One client's connection: its state, its events one after the other, and its end."""

from collections import deque
from collections.abc import Awaitable

from msgspec import Raw

from app.admission.limiter import Limiter, RateLimitResult
from app.clock import iso
from app.delivery.outbox import Outbox
from app.gateway.host import ConnectionHost, End
from app.wire.codec import encode, ref_of, with_ref
from app.wire.frames import is_utf8
from app.wire.receiver import MAX_BYTES_BEFORE_AUTH
from app.wire.transport import Transport
from handlers.context import Context
from handlers.ports import Identity, State
from schemas.capabilities import VERSION_1, Spoken
from schemas.errors import CloseCode, Error, ErrorCode, EventError, Limit, RetryAfter
from schemas.events import ServerEvent
from schemas.notices import ServerNotice
from schemas.prices import STRANGER_BYTES_PER_SECOND
from stores.model import Holder, Revocation, User

WAITING_FRAMES = 64
REFUSED_PER_SECOND = 8000.0  # how many frames beyond the rate limit are still read
GOODBYES = frozenset({CloseCode.NORMAL, CloseCode.GOING_AWAY, CloseCode.NO_STATUS})


class Connection:
    """See `handlers.ports.Socket`. Events are handled strictly in order; while one is awaited, later ones wait."""

    __slots__ = (
        "_acknowledged",
        "_awaits_pong",
        "_context",
        "_dispatch",
        "_ending",
        "_has_ended",
        "_host",
        "_identity",
        "_is_busy",
        "_limiter",
        "_monotonic",
        "_told_of",
        "_transport",
        "_waiting",
        "address",
        "holder",
        "max_bytes",
        "outbox",
        "spoken",
        "state",
        "was_heard",
    )

    def __init__(self, host: ConnectionHost, holder: Holder, transport: Transport, address: bytes) -> None:
        self._host = host
        self._transport = transport
        self._context = Context(host.services, self)
        self._identity: Identity | None = None
        self._told_of = 0.0
        self._monotonic = host.monotonic
        self._dispatch = host.dispatcher.dispatch_slowly
        self._limiter = Limiter(host.limits.stranger_rate)
        self._acknowledged = 0
        self._awaits_pong = False
        self._waiting: deque[bytes] | None = None
        self._is_busy = False
        self._ending: End | None = None
        self._has_ended = False
        self.holder = holder
        self.address = address
        self.outbox = Outbox(transport, host.write_scheduler, host.limits.outbox_bytes, self._too_slow, self._slow)
        self.spoken = VERSION_1
        self.state = State.CONNECTED
        self.max_bytes = min(host.limits.max_message_bytes, MAX_BYTES_BEFORE_AUTH)
        self.was_heard = True

    @property
    def identity(self) -> Identity:
        """Who it is; raises `RuntimeError` before authentication."""
        if self._identity is None:
            raise RuntimeError("this socket is not authenticated")
        return self._identity

    @property
    def is_stranger(self) -> bool:
        """Whether it has not authenticated."""
        return self.state is State.CONNECTED

    @property
    def is_lost(self) -> bool:
        """See `Socket`."""
        return self._ending is not None and self._ending.code == CloseCode.ABNORMAL

    @property
    def is_open(self) -> bool:
        """Whether events are still taken."""
        return not self._has_ended

    @property
    def bytes_per_second(self) -> int:
        """How fast the client may send in the long run."""
        most = self._host.limits.bytes_per_second
        return min(most, STRANGER_BYTES_PER_SECOND) if self.state is State.CONNECTED else most

    @property
    def limiter(self) -> Limiter:
        """What the client has used of its budget."""
        return self._limiter

    def receive(self, frame: bytes) -> None:
        """Take a message of valid UTF-8 from the client."""
        if self._is_busy or self._has_ended:
            self._put_off(frame)
            return
        verdict = self._limiter.admit(self._monotonic())
        if verdict is not None:
            self._refuse(verdict, frame)
            return
        work = self._dispatch(frame, self._context)
        if work is not None:
            self._is_busy = True
            self._host.spawn(self._finish(work))

    def receive_binary(self, frame: bytes) -> None:
        """Take a binary message: it is read as the same text."""
        if is_utf8(frame):
            self.receive(frame)
        else:
            self.violated(CloseCode.BAD_UTF8, "A message is JSON in UTF-8")

    def closed(self, code: int) -> None:
        """Take note that the client closed with this code, or that the connection was lost (1006).

        What came before is handled first. What comes for the user after a loss is kept from now on.
        """
        if code == CloseCode.ABNORMAL:
            self.outbox.discard()
            self._host.lost(self)
        self._end_in_turn(End(code, "", is_leaving=code in GOODBYES))

    def violated(self, code: CloseCode, reason: str) -> None:
        """Close, since the client broke the WebSocket protocol; what came before is handled first."""
        if code == CloseCode.TOO_LARGE:
            self._host.refused(Limit.MESSAGE_BYTES, self.address)
        self._end_in_turn(End(code, reason))

    def charge_frames(self, count: int) -> None:
        """Count frames that carry no event, each of which costs as much as one."""
        now = self._monotonic()
        for _ in range(count):
            verdict = self._limiter.admit(now)
            if verdict is not None:
                self._refuse(verdict)

    def charge(self, events: float) -> None:
        """See `Socket`."""
        is_covered = self._limiter.charge(self._monotonic(), events)
        if not is_covered and self.state is State.CONNECTED:
            self._close_as_flooding("Too much before AUTH")
            raise EventError(ErrorCode.RATE_LIMITED, "This costs too much before AUTH", limit=Limit.EVENTS)

    def too_large(self) -> None:
        """Close: the client sends a message that is too long."""
        self.violated(CloseCode.TOO_LARGE, f"A message may have {self.max_bytes} bytes now")

    def authenticated(self, identity: Identity, spoken: Spoken) -> None:
        """See `Socket`."""
        self._identity = identity
        self._context.user = identity.user
        self.spoken = spoken
        self.state = State.AUTHENTICATED
        self.max_bytes = self._host.limits.max_message_bytes
        self._dispatch = self._dispatch_first if "resume" in spoken else self._host.dispatcher.dispatch
        self._limiter = self._host.authenticated(self)

    def renewed(self, identity: Identity) -> None:
        """See `Socket`."""
        self._identity = identity
        self._host.renewed(self)

    def registered(self) -> None:
        """See `Socket`."""
        self.state = State.REGISTERED

    def send(self, event: ServerEvent, ref: Raw | None = None) -> None:
        """See `Socket`."""
        variant = event.variant(self.spoken) if event.has_variants else event
        if variant is None:
            return
        frame = encode(variant)
        put = self.outbox.put_coalesced if event.can_wait else self.outbox.put
        put(frame if ref is None else with_ref(frame, ref))

    def close(self, code: CloseCode, reason: str) -> None:
        """See `Socket`. Nothing that comes later is handled; a client that has ended it already is left to its end."""
        if self._ending is None:
            self._end(End(code, reason))

    def supersede(self) -> None:
        """Make room for the user's new socket."""
        self.send(Error(code=ErrorCode.SUPERSEDED, message="Another connection of this user took over"))
        self.close(CloseCode.SUPERSEDED, "Superseded by new connection")

    def revoke(self, revocation: Revocation) -> User | None:
        """Close, if that revokes the client's token; return whose socket it was."""
        identity = self._identity
        if identity is None or not revocation.covers(identity.user, identity.token_id, identity.issued_at):
            return None
        self.send(Error(code=ErrorCode.TOKEN_INVALID, message="The access token was revoked"))
        self.close(CloseCode.UNAUTHENTICATED, "The access token was revoked")
        return identity.user

    def notify(self, notice: ServerNotice) -> None:
        """Tell the client ahead of something, if it asked for notices."""
        self.send(notice)

    def expiring(self) -> None:
        """Tell the client, once a token, that it expires soon."""
        expires_at = self.identity.expires_at
        if self._told_of != expires_at:
            self._told_of = expires_at
            self.notify(ServerNotice(kind="token-expiring", expires_at=iso(expires_at)))

    def expire(self) -> None:
        """Close: the client's token has run out."""
        self.send(Error(code=ErrorCode.TOKEN_EXPIRED, message="The access token has expired; get a new one"))
        self.close(CloseCode.TOKEN_EXPIRED, "The access token has expired")

    def beat(self) -> None:
        """Ask the client for a sign of life, or cut it if none came since it was last asked."""
        is_draining = self._is_draining()
        if not self._transport.ping():
            return
        if self.was_heard or is_draining:
            self.was_heard = False
            self._awaits_pong = True
            if "resume" in self.spoken:
                self._host.pinged(self)
        else:
            self._transport.abort()
            self.closed(CloseCode.ABNORMAL)

    def _is_draining(self) -> bool:
        """Whether the client still takes what was written to it: a slow reader is not a dead connection."""
        before, progress = self._acknowledged, self._transport.progress()
        self._acknowledged = progress.acknowledged
        return progress.is_waiting and progress.acknowledged > before

    def _dispatch_first(self, frame: bytes, ctx: Context) -> Awaitable[None] | None:
        """Dispatch the first frame after authentication, which shows that the client knows it is in."""
        self._dispatch = self._host.dispatcher.dispatch
        self._host.confirm(self)
        return self._dispatch(frame, ctx)

    def ponged(self) -> None:
        """Take note of a pong. The first one after a ping of ours is free; the others are charged."""
        if not self._awaits_pong:
            self.charge_frames(1)
            return
        self._awaits_pong = False
        if "resume" in self.spoken:
            self._host.ponged(self)

    async def _finish(self, work: Awaitable[None]) -> None:
        await work
        self._is_busy = False
        if self._has_ended and self._ending is not None:  # it ended during the work, and its cleanup waited
            await self._clean_up(self._ending)
            return
        while self._waiting and not self._is_busy:
            self.receive(self._waiting.popleft())
        if self._is_busy:
            return
        if self._waiting is not None:
            self._waiting = None
            self._transport.resume()
        if self._ending is not None and not self._has_ended:
            self._end(self._ending)

    def _put_off(self, frame: bytes) -> None:
        if self._ending is not None:
            if self._limiter.admit(self._monotonic()) is not None:
                self._transport.stop_reading()
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(frame)
        if len(self._waiting) >= WAITING_FRAMES or len(frame) > MAX_BYTES_BEFORE_AUTH:
            self._transport.pause()

    def _end_in_turn(self, end: End) -> None:
        """End once what came before is handled. Of several reasons to end the first counts."""
        if self._ending is not None:
            return
        self._ending = end
        if not self._is_busy:
            self._end(end)

    def _end(self, end: End) -> None:
        self._ending, self._has_ended, self._waiting = end, True, None
        self.outbox.close()
        self._transport.close(end.code, end.reason)
        self._host.lost(self)
        if not self._is_busy:
            self._host.spawn(self._clean_up(end))

    async def _clean_up(self, end: End) -> None:
        """Do what follows from the end, and let go of what leads back here: then no garbage is left to be collected."""
        await self._host.disconnected(self, self._context, end)
        del self._context, self._dispatch

    def _refuse(self, verdict: RateLimitResult, frame: bytes | None = None) -> None:
        """Refuse a frame beyond the rate limit; say so once a second at most."""
        self._host.refused(Limit.EVENTS, self.address)
        self._host.dispatcher.refused[ErrorCode.RATE_LIMITED] += 1
        if self.state is State.CONNECTED:
            self._close_as_flooding("Too many frames before AUTH")
        elif verdict.is_final:
            self._close_as_flooding("Rate limit exceeded for too long")
        else:
            self._transport.slow_down(1 / REFUSED_PER_SECOND)
            if verdict.is_due:
                self._say_when_to_go_on(verdict, frame)

    def _say_when_to_go_on(self, verdict: RateLimitResult, frame: bytes | None) -> None:
        retry = RetryAfter(retry_after_ms=int(verdict.retry_after * 1000) + 1)
        error = Error(code=ErrorCode.RATE_LIMITED, message="Too many events; wait before you send more", details=retry)
        self.send(error, None if frame is None else ref_of(frame))

    def _close_as_flooding(self, reason: str) -> None:
        """Close, and discard whatever is still on its way."""
        self.close(CloseCode.RATE_LIMITED, reason)
        self._transport.stop_reading()

    def _slow(self) -> None:
        if "notices" in self.spoken:
            self.outbox.put_first(encode(ServerNotice(kind="slow")))

    def _too_slow(self) -> None:
        self._host.refused(Limit.OUTBOX_BYTES, self.address)
        self.close(CloseCode.TOO_SLOW, "You read too slowly")
