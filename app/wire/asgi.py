"""The plain ASGI path: carries WebSockets of any ASGI server and of Starlette's test client."""

from collections import deque
from contextlib import suppress

import anyio
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from app.wire.kernel import UNKNOWN, Progress
from app.wire.receiver import OpenConnection, Receiver
from schemas.errors import CloseCode

CLOSE_SECONDS = 5.0
DISCARD_SECONDS = 1.0


class AsgiTransport:
    """See `Transport`. A task sends what was written; until it has finished, the outbox holds back the rest."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._payloads: deque[bytes] = deque()
        self._bytes = 0
        self._closing: tuple[int, str] | None = None
        self._wake = anyio.Event()
        self._readable = anyio.Event()
        self._readable.set()
        self._scope = anyio.CancelScope()
        self.connection: Receiver | None = None

    def write(self, payloads: list[bytes]) -> None:
        """See `Transport`."""
        self._payloads.extend(payloads)
        self._bytes += sum(map(len, payloads))
        if self.connection is not None:
            self.connection.outbox.congest()
        self._wake.set()

    def close(self, code: int, reason: str) -> None:
        """See `Transport`. Does nothing if the client has closed already."""
        if self._websocket.client_state is WebSocketState.DISCONNECTED:
            return
        self._closing = (code, reason)
        patience = DISCARD_SECONDS if code == CloseCode.TOO_SLOW else CLOSE_SECONDS
        self._scope.deadline = anyio.current_time() + patience
        self._wake.set()
        self.resume()

    def abort(self) -> None:
        """See `Transport`."""
        self._scope.cancel()

    def backlog(self) -> int:
        """See `Transport`."""
        return self._bytes

    def pause(self) -> None:
        """See `Transport`."""
        if self._readable.is_set():
            self._readable = anyio.Event()

    def resume(self) -> None:
        """See `Transport`."""
        self._readable.set()

    def slow_down(self, seconds: float) -> None:
        """See `Transport`. Does nothing: here the server's own queue applies backpressure."""

    def stop_reading(self) -> None:
        """See `Transport`. Does nothing: the connection ignores further messages itself."""

    def progress(self) -> Progress:
        """See `Transport`."""
        return UNKNOWN

    def ping(self) -> bool:
        """See `Transport`. Returns False: here the ASGI server sends pings itself."""
        return False

    async def run(self, connection: Receiver) -> None:
        """Carry messages both ways until the connection ends."""
        self.connection = connection
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._send_until_closed)
                await self._receive(connection)
                tasks.cancel_scope.cancel()
        connection.closed(CloseCode.ABNORMAL)

    async def _receive(self, connection: Receiver) -> None:
        while True:
            await self._readable.wait()
            message = await self._websocket.receive()
            connection.was_heard = True
            if message["type"] == "websocket.disconnect":
                connection.closed(_close_code(message))
                return
            text = message.get("text")
            frame = message["bytes"] if text is None else text.encode()
            if len(frame) > connection.max_bytes:
                connection.too_large()
            elif text is None:
                connection.receive_binary(frame)
            else:
                connection.receive(frame)

    async def _send_until_closed(self) -> None:
        """Send until closed. Ignores a lost connection, because `_receive` reports it."""
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._send()

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            while self._payloads:
                payload = self._payloads.popleft()
                await self._websocket.send_text(payload.decode())
                self._bytes -= len(payload)
            if self._closing is not None:
                await self._websocket.close(*self._closing)
                return
            if self.connection is not None:
                self.connection.outbox.relieve()


async def serve(websocket: WebSocket, open_connection: OpenConnection, address: bytes) -> None:
    """Carry one accepted WebSocket until it ends; `address` is the salted hash of the client's address."""
    transport = AsgiTransport(websocket)
    await transport.run(open_connection(transport, address))


def _close_code(message: Message) -> int:
    """Return the client's close code; 1006 for a lost connection, which uvicorn reports as 1005 without a reason."""
    code = message.get("code") or CloseCode.NO_STATUS
    return CloseCode.ABNORMAL if code == CloseCode.NO_STATUS and "reason" not in message else code
