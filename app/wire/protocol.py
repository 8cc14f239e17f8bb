"""Our WebSocket protocol class for uvicorn (`ws=`): passes frames to the receiver without a task or queue.

The ASGI application accepts the upgrade, hands the connection over and returns. So an idle socket keeps no task, scope
or coroutine alive.
"""

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from app.wire.frames import (
    PING,
    PONG,
    Binary,
    Close,
    Event,
    FrameReader,
    Ping,
    Pong,
    Violation,
    close_frame,
    control_frame,
    text_frames,
)
from app.wire.handshake import HANDOVER, Handshake
from app.wire.kernel import Progress, progress
from app.wire.receiver import MAX_BYTES_BEFORE_AUTH, OpenConnection, Receiver
from schemas.errors import CloseCode

CLOSE_SECONDS = 5.0
DISCARD_SECONDS = 1.0  # after a violation; on an immediate abort, the kernel's RST would overtake the close frame
NO_CLOSE_REPLY = frozenset({CloseCode.UNAUTHENTICATED, CloseCode.TOO_SLOW})  # do not wait for the client's close frame
VIOLATIONS = frozenset({CloseCode.PROTOCOL_ERROR, CloseCode.BAD_UTF8, CloseCode.TOO_LARGE, CloseCode.RATE_LIMITED})
VIOLATION_SECONDS = 1.0  # else a flooding client would reconnect at once, and an upgrade costs more than its frames
WRITE_BUFFER_BYTES = 65_536
BYTES_BETWEEN_CHECKS = 262_144
BYTES_PER_TURN = 65_536
MIN_PAUSE_SECONDS = 0.004  # timers have a resolution of milliseconds, so shorter pauses accumulate
DISCARDED_MESSAGES = 2  # of the largest size, so that a client in the middle of one can read the close frame


class WebSocketProtocol(asyncio.Protocol):
    """One upgraded connection; see `Transport`."""

    __slots__ = (
        "_check_at",
        "_close_timer",
        "_connection",
        "_handshake",
        "_is_closed_by_client",
        "_is_deferred",
        "_is_paused",
        "_pause_seconds",
        "_pongs",
        "_reader",
        "_received",
        "_received_since",
        "_server_state",
        "_transport",
    )

    _transport: asyncio.Transport

    def __init__(self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        self._server_state = server_state
        self._handshake: Handshake | None = Handshake(config, app_state, self._write_raw)
        self._connection: Receiver | None = None
        self._reader: FrameReader | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._is_closed_by_client = False
        self._is_paused = False
        self._is_deferred = False
        self._received = 0
        self._check_at = MAX_BYTES_BEFORE_AUTH
        self._received_since = 0.0
        self._pause_seconds = 0.0
        self._pongs = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over from uvicorn's HTTP protocol."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is not an asyncio.Transport subclass
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # by duck type

    def connection_lost(self, _error: Exception | None) -> None:
        """Tell the receiver that the connection is lost."""
        self._server_state.connections.discard(self)
        if self._close_timer is not None:
            self._close_timer.cancel()
        if self._connection is not None:
            self._connection.closed(CloseCode.ABNORMAL)
        self._handshake = self._connection = self._reader = None

    def shutdown(self) -> None:
        """Close because the server is shutting down; called by uvicorn."""
        if self._connection is None:
            self._transport.close()
        else:
            self._connection.close(CloseCode.RESTART, "This node restarts")

    def data_received(self, data: bytes) -> None:
        """Read what arrived: first the upgrade request, which uvicorn's HTTP protocol passes on, then frames."""
        connection, reader = self._connection, self._reader
        if connection is None or reader is None:
            self._start_handshake(data)
            return
        connection.was_heard = True
        reader.limit = connection.max_bytes
        events = reader.feed(data)
        if reader.extras:
            connection.charge_frames(reader.extras)
        for event in events:
            if type(event) is bytes:
                connection.receive(event)
            else:
                self._control(event, connection)
        self._received += len(data)
        if self._received > self._check_at:
            self._check_rate(connection.bytes_per_second)
        if self._pause_seconds or reader.unread or self._pongs or len(data) > BYTES_PER_TURN:
            self._end_read(connection, reader, len(data))

    def eof_received(self) -> bool:
        """Close: a client that sends no more counts as disconnected."""
        return False

    def pause_writing(self) -> None:
        """Hold back writes: the client does not keep up."""
        if self._connection is not None:
            self._connection.outbox.congest()

    def resume_writing(self) -> None:
        """Resume writes; first answer the latest ping that arrived meanwhile."""
        if self._connection is not None:
            if self._pongs:
                self._write_raw(self._pongs)
                self._pongs = b""
            self._connection.outbox.relieve()

    def open(self, open_connection: OpenConnection, address: bytes = b"") -> None:
        """Start to carry frames after the handshake; `address` is the salted hash of the client's address."""
        self._handshake = None
        if self._transport.is_closing():
            return
        self._transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        self._connection = open_connection(self, address)
        self._reader = FrameReader(self._connection.max_bytes)
        self._received_since = asyncio.get_running_loop().time()
        self._transport.resume_reading()

    def write(self, payloads: list[bytes]) -> None:
        """See `Transport`."""
        self._transport.write(text_frames(payloads))

    def close(self, code: int, reason: str) -> None:
        """See `Transport`. Unless the client has closed already, it has `CLOSE_SECONDS` to reply.

        If an unauthenticated client violated the protocol or flooded, closes `VIOLATION_SECONDS` later and reads
        nothing meanwhile.
        """
        if self._close_timer is not None or self._transport.is_closing():
            return
        if code in VIOLATIONS and self._connection is not None and self._connection.is_stranger:
            self.stop_reading()
            self._transport.pause_reading()
            self._close_timer = asyncio.get_running_loop().call_later(VIOLATION_SECONDS, self._close, code, reason)
        else:
            self._close(code, reason)

    def _close(self, code: int, reason: str) -> None:
        self._transport.write(close_frame(code, reason))
        if self._is_closed_by_client:
            self._transport.close()
            return
        can_reply = self._reader is not None and not self._reader.is_over and code not in NO_CLOSE_REPLY
        timeout = CLOSE_SECONDS if can_reply else DISCARD_SECONDS
        self._close_timer = asyncio.get_running_loop().call_later(timeout, self._transport.abort)
        if self._connection is not None:
            self._received, self._check_at = 0, DISCARDED_MESSAGES * self._connection.max_bytes
        self._transport.resume_reading()

    def abort(self) -> None:
        """See `Transport`."""
        self._transport.abort()

    def backlog(self) -> int:
        """See `Transport`."""
        return self._transport.get_write_buffer_size()

    def pause(self) -> None:
        """See `Transport`."""
        self._is_paused = True
        self._transport.pause_reading()

    def resume(self) -> None:
        """See `Transport`."""
        self._is_paused = False
        if not self._is_deferred:
            self._yield_turn()

    def slow_down(self, seconds: float) -> None:
        """See `Transport`."""
        self._pause_seconds += seconds

    def stop_reading(self) -> None:
        """See `Transport`."""
        if self._reader is not None:
            self._reader.stop()

    def progress(self) -> Progress:
        """See `Transport`."""
        return progress(self._transport.get_extra_info("socket"))

    def ping(self) -> bool:
        """See `Transport`."""
        self._write_raw(control_frame(PING))
        return True

    def _write_raw(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _start_handshake(self, data: bytes) -> None:
        """Pass the request to the application. Pauses reading until the application accepts."""
        if self._handshake is None:
            return
        self._transport.pause_reading()
        scope = self._handshake.scope(
            data,
            {
                "scheme": "wss" if is_ssl(self._transport) else "ws",
                "client": get_remote_addr(self._transport),
                "server": get_local_addr(self._transport),
                "extensions": {HANDOVER: {"open": self.open}, "websocket.http.response": {}},
            },
        )
        if scope is None:
            self._transport.close()
            return
        task = asyncio.get_running_loop().create_task(self._run(self._handshake, scope))
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    async def _run(self, handshake: Handshake, scope: dict[str, Any]) -> None:
        await handshake.run(scope)
        if self._connection is None:
            self._transport.close()

    def _control(self, event: Event, connection: Receiver) -> None:
        if isinstance(event, Binary):
            connection.receive_binary(event.payload)
        elif isinstance(event, Ping):
            pong = control_frame(PONG, event.payload)
            self._pongs = pong if connection.outbox.is_congested else self._pongs + pong
        elif isinstance(event, Pong):
            connection.ponged()
        elif isinstance(event, Violation):
            connection.violated(event.code, event.reason)
        elif isinstance(event, Close):
            self._is_closed_by_client = True
            connection.closed(event.code)
            if self._close_timer is not None:
                self._transport.close()

    def _end_read(self, connection: Receiver, reader: FrameReader, size: int) -> None:
        """Answer pings, and let the event loop read other sockets before this one again."""
        if self._pongs:
            self._send_pongs(connection)
        if self._pause_seconds >= MIN_PAUSE_SECONDS:
            self._pause_for(self._pause_seconds)
        elif reader.unread or size > BYTES_PER_TURN:
            self._yield_turn()

    def _send_pongs(self, connection: Receiver) -> None:
        """Answer the pings of one read with one write, after everything buffered for the client."""
        if not connection.outbox.is_congested:
            connection.outbox.flush()
        if not connection.outbox.is_congested:
            self._write_raw(self._pongs)
            self._pongs = b""

    def _yield_turn(self) -> None:
        """Let the event loop read other sockets first; libuv would read this one as long as it has data."""
        if not self._is_deferred:
            self._is_deferred = True
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._resume_reading)

    def _check_rate(self, bytes_per_second: int) -> None:
        """Pause reading if bytes arrive above the rate; TCP then applies backpressure. After a close, stop reading."""
        if self._close_timer is not None:
            self._is_deferred = True
            self._transport.pause_reading()
            return
        loop = asyncio.get_running_loop()
        self._check_at = min(bytes_per_second, BYTES_BETWEEN_CHECKS)
        now = loop.time()
        ahead = self._received / bytes_per_second - (now - self._received_since)
        self._received, self._received_since = 0, now + max(0.0, ahead)  # the time of the pause earns no credit
        self._pause_seconds = max(self._pause_seconds, ahead)

    def _pause_for(self, seconds: float) -> None:
        """Pause reading for this long; unread data in the reader waits too."""
        self._pause_seconds = 0.0
        if not self._is_deferred:
            self._is_deferred = True
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(seconds, self._resume_reading)

    def _resume_reading(self) -> None:
        """Resume: first process the reader's unread data, then read more."""
        self._is_deferred = False
        if self._is_paused or self._transport.is_closing():
            return
        if self._reader is not None and self._reader.unread:
            self.data_received(b"")
        if not self._is_deferred and not self._is_paused:
            self._transport.resume_reading()
