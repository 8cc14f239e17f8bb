"""A peer: a connection that is kept up, what it asks, and what comes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack, cast
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from peersync import errors
from peersync.answers import Answers, refusal
from peersync.backoff import FINAL, Backoff
from peersync.errors import ClosedError, DisconnectedError, PeerSyncError, RefusedError, UnreachableError
from peersync.events import (
    KINDS,
    AuthFailed,
    AuthSuccess,
    AuthSuccessData,
    Client,
    Error,
    MessageAckData,
    PeerRegisterData,
    PeerRegistered,
    Requests,
    SendMessageData,
    ServerNotice,
    SessionCreatedData,
)
from peersync.frames import Event, decode, encode
from peersync.outbox import Outbox
from peersync.resumption import Resumption
from peersync.tokens import Tokens, TokenSource

CAPABILITIES = ("resume", "acks", "sessions", "notices")
CLOSE_SECONDS = 2.0
AUTH = "enter peersync"
REGISTER = "register with peersync"
TRANSIENT = frozenset({"ERR_5004", "ERR_9001", "ERR_9002"})
ASKING_FOR_TOKEN = frozenset({4001, 4003})
OpenSocket = Callable[[str], Awaitable[ClientConnection]]


class Loss(TypedDict):
    """How a connection ended, and after how long this client tries to come back."""

    code: int
    reason: str
    pauseSeconds: float


class ConnectionLost(Event):
    """The connection was lost; this client comes back by itself. It is told by the client, not by the server."""

    data: Loss


async def open_socket(url: str, **options: Any) -> ClientConnection:  # noqa: ANN401
    """Connect, with these options of `websockets.asyncio.client.connect` besides, such as `ssl` or `proxy`."""
    return await connect(url, compression=None, max_size=None, close_timeout=CLOSE_SECONDS, **options)


class Peer(Requests):
    """One user at one server, from `async with` to its end; iterating gives what happens, in order.

    Entering waits until the peer is registered with the given profile. It raises `UnreachableError` if the server
    cannot be reached, `ClosedError` if it does not take the token, `RefusedError` if not the profile. While the server
    cannot let anybody in, as without its store, it is asked again. From then on a lost connection is made again, and
    resumed: each event is handed over once. An `AuthSuccess` tells of each connection. Where its `recovered` is true
    nothing is missing, and the `Pong` after it tells that all that was kept has come; where it is false the peer has
    started over, and only `session_list` can tell which sessions still stand.

    What nobody asked for waits in memory until it is iterated over, by one task. Iterating ends after `close`; it
    raises `ClosedError` if the server ended it, `RefusedError` if it does not take the profile any longer, or what the
    token source raised. So do all other methods then. Any of them may be cancelled.

    `token` is an access token, or a function that returns one, or a coroutine function: asked again when a token
    expires or is refused. `program` names yours to the server.
    """

    def __init__(
        self,
        url: str,
        token: TokenSource,
        profile: PeerRegisterData | None = None,
        *,
        program: Client | None = None,
        backoff: Backoff | None = None,
        open_socket: OpenSocket = open_socket,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.me: AuthSuccessData = {"userId": "", "displayName": ""}
        self._url = url
        self._profile: Mapping[str, object] = profile or {}
        self._program = program or {"name": "peersync"}
        self._tokens = Tokens(token, now)
        self._backoff = backoff or Backoff()
        self._open_socket = open_socket
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._answers = Answers()
        self._resumption = Resumption()
        self._outbox: Outbox | None = None
        self._is_token_expiring = asyncio.Event()
        self._is_leaving = False
        self._refusal: RefusedError | None = None
        self._failure: BaseException | None = None
        self._end: Exception | None = None

    async def __aenter__(self) -> Self:
        """Connect and register."""
        self._begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._stay())
        self._task.add_done_callback(self._ended)
        try:
            await self._begun
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave."""
        try:
            if kind is None:
                await self.close()
        finally:
            await self._stop()

    def __aiter__(self) -> Self:
        """Return this."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event."""
        event = await self._events.get()
        if event is not None:
            return event
        self._events.put_nowait(None)
        raise self._failure or StopAsyncIteration()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now, as far as is known."""
        return self._outbox is not None

    async def close(self) -> None:
        """Leave: what was sent before goes out if that takes no more than some seconds, answers come, sessions end."""
        self._is_leaving = True
        if self._outbox is None:
            self._task.cancel()
        else:
            self._outbox.finish()
        await asyncio.wait({self._task}, timeout=2 * CLOSE_SECONDS)

    async def request(self, event: str, data: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401
        """Send an event, and return the data of its answer; for the events of plugins, as all others have a method.

        Raises `RefusedError` for an `ERROR`, and `DisconnectedError` if there is no connection or it is lost meanwhile.
        """
        ref = self._answers.new_ref()
        frame = encode(event, data, ref)
        outbox = self._open_outbox()
        answer = self._answers.wait(ref)
        outbox.put(frame)
        given = await answer
        if event == "PEER_REGISTER":
            self._profile = data or {}
        return given

    async def accept(self, requestId: str) -> SessionCreatedData:  # noqa: N803 - as on the wire
        """Accept a connection request; returns the session."""
        data = await self.request("CONNECTION_RESPONSE", {"requestId": requestId, "accepted": True})
        return cast(SessionCreatedData, data)

    async def refuse(self, requestId: str) -> None:  # noqa: N803 - as on the wire
        """Refuse a connection request."""
        await self.request("CONNECTION_RESPONSE", {"requestId": requestId, "accepted": False})

    async def send_message(self, **data: Unpack[SendMessageData]) -> MessageAckData:
        """Send a message to the others in a session; returns once the server acknowledges it.

        Without a connection it waits for the next. It is delivered once, though it may have to be sent again, for which
        it gets a `messageId` if it has none. Raises `RefusedError`, as for a session that is over. Cancelled, it is not
        sent again.
        """
        return await self.post(**data)

    def post(self, **data: Unpack[SendMessageData]) -> "asyncio.Future[MessageAckData]":
        """Do the same at once, and return the future of the acknowledgement."""
        if self._end is not None:
            raise self._end
        if "acks" not in self.me.get("capabilities", ()):
            raise PeerSyncError("this server does not acknowledge messages")
        ref = self._answers.new_ref()
        message = encode("SEND_MESSAGE", {"messageId": uuid4().hex, **data}, ref)
        answer = self._answers.wait(ref, message)
        if self._outbox is not None:
            self._outbox.put(message)
        return answer

    def send(self, frame: str) -> None:
        """Send a frame as it is; what is answered comes among the events. Raises `DisconnectedError`."""
        self._open_outbox().put(frame)

    def _open_outbox(self) -> Outbox:
        if self._end is not None:
            raise self._end
        if self._outbox is None:
            raise DisconnectedError("there is no connection now")
        return self._outbox

    async def _stay(self) -> None:
        """Keep up a connection until this client leaves; raises `ClosedError` if it may not come back."""
        code, reason = errors.ABNORMAL, ""
        while True:
            try:
                code, reason = await self._visit()
            except (UnreachableError, OSError):
                if not self._begun.done():
                    raise
                pause = self._backoff.pause(code)
            else:
                if self._is_leaving:
                    return
                pause = self._backoff.pause(code)
                self._lost(code, reason, pause)
            await asyncio.sleep(pause)

    async def _visit(self) -> tuple[int, str]:
        """Be there for one connection; returns how it ended."""
        token = await self._tokens.get()
        if token is None:
            raise self._not_let_in()
        self._refusal = None
        socket = await self._connect()
        try:
            await self._converse(socket, token)
        finally:
            self._outbox = None
            self._answers.lost()
            await socket.close()
        code, reason = socket.close_code or errors.ABNORMAL, socket.close_reason or ""
        if not self._is_leaving:
            self._check(code)
        return code, reason

    async def _connect(self) -> ClientConnection:
        try:
            return await self._open_socket(self._url)
        except (OSError, WebSocketException, ValueError) as error:
            raise UnreachableError(str(error) or type(error).__name__) from error

    async def _converse(self, socket: ClientConnection, token: str) -> None:
        """Introduce the user, and take what comes until the connection ends; what else is to be done, tasks do."""
        hello = {"token": token, "capabilities": CAPABILITIES, "client": self._program}
        resume = self._resumption.claim()
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[None]] = []
            with suppress(ConnectionClosed):
                await socket.send(encode("AUTH", {**hello, "resume": resume} if resume else hello, AUTH))
                while True:
                    event = decode(await socket.recv(decode=True), KINDS)
                    if isinstance(event, AuthSuccess) and self._outbox is None:
                        outbox = self._enter(event.data)
                        tasks += [group.create_task(outbox.send_to(socket)), group.create_task(self._renew(outbox))]
                    if isinstance(event, Error) and event.ref in {AUTH, REGISTER}:
                        self._check_introduction(refusal(event.data), socket)
                    self._receive(event)
            for task in tasks:
                task.cancel()

    def _enter(self, success: AuthSuccessData) -> Outbox:
        """Go on where the last connection was lost, or start over; then what was not acknowledged is sent again."""
        self.me = success
        self._tokens.accepted()
        self._is_token_expiring.clear()
        if self._resumption.entered(success):
            first = encode("PING", self._resumption.report())
            self._arrived()
        else:
            first = encode("PEER_REGISTER", self._profile, REGISTER)
        frames = [first, *self._answers.unacknowledged()]
        self._outbox = Outbox(frames, success.get("limits"), time.monotonic)
        return self._outbox

    def _receive(self, event: Event) -> None:
        """Hand an event to who waits for it, unless it came before."""
        if not self._resumption.takes(event.offset):
            return
        if isinstance(event, PeerRegistered):
            self._arrived()
        if isinstance(event, AuthFailed):
            self._refusal = RefusedError(event.data["code"], event.data["message"])
        if isinstance(event, ServerNotice) and event.data["kind"] == "token-expiring":
            self._is_token_expiring.set()
        if not self._answers.take(event):
            self._events.put_nowait(event)
        if self._outbox is not None and self._resumption.is_report_due():
            self._outbox.put(encode("PING", self._resumption.report(), self._answers.new_ref()))

    def _check_introduction(self, refused: RefusedError, socket: ClientConnection) -> None:
        """Have it tried again over another connection if that can help."""
        if refused.code not in TRANSIENT:
            raise refused
        socket.transport.abort()

    def _arrived(self) -> None:
        self._backoff.reset()
        if not self._begun.done():
            self._begun.set_result(None)

    async def _renew(self, outbox: Outbox) -> None:
        """Present a new token whenever the last is about to expire."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._tokens.seconds_left()):
                    await self._is_token_expiring.wait()
            self._is_token_expiring.clear()
            with suppress(OSError):
                token = await self._tokens.renew()
                if token is not None:
                    outbox.put(encode("AUTH", {"token": token}, self._answers.new_ref()))

    def _check(self, code: int) -> None:
        """Raise `ClosedError` if this client may not come back after this close code."""
        if code in FINAL:
            raise ClosedError(code, FINAL[code])
        if self._refusal is None and code in ASKING_FOR_TOKEN:
            self._tokens.expired()
        if self._refusal is not None and not self._tokens.refused():
            raise self._not_let_in()

    def _not_let_in(self) -> ClosedError:
        closed = ClosedError(errors.UNAUTHENTICATED, "the server does not take the token; get a new one")
        closed.__cause__ = self._refusal
        return closed

    def _lost(self, code: int, reason: str, pause: float) -> None:
        data: Loss = {"code": code, "reason": reason, "pauseSeconds": pause}
        self._events.put_nowait(ConnectionLost("CONNECTION_LOST", data, None, None, ""))

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Tell all who wait that it is over, and why."""
        error = None if task.cancelled() else task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self._failure = error
        self._end = error if isinstance(error, Exception) else ClosedError(errors.NORMAL, "this client has closed")
        self._answers.end(self._end)
        self._events.put_nowait(None)
        if not self._begun.done():
            self._begun.set_exception(self._end)

    async def _stop(self) -> None:
        """End the one task that all others belong to, and wait for it even if cancelled, so that nothing is left."""
        self._task.cancel()
        cancelled = None
        while not self._task.done():
            try:
                await asyncio.wait({self._task})
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
