"""Our WebSocket protocol for uvicorn (`ws=`): frames go from the kernel to the receiver without a task or queue.

The application still accepts, and then hands the connection over and returns. So an idle socket keeps no task, no scope
and no coroutine alive.
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
DISCARD_SECONDS = 1.0  # after a violation: cut at once, and the kernel's RST would overtake the close frame
HOPELESS = frozenset({CloseCode.UNAUTHENTICATED, CloseCode.TOO_SLOW})  # nobody waits for their answer
VIOLATIONS = frozenset({CloseCode.PROTOCOL_ERROR, CloseCode.BAD_UTF8, CloseCode.TOO_LARGE, CloseCode.RATE_LIMITED})
VIOLATION_SECONDS = 1.0  # a stranger who floods would be back at once, and an upgrade costs more than its frames
WRITE_BUFFER_BYTES = 65_536
BYTES_BETWEEN_LOOKS = 262_144
BYTES_A_TURN = 65_536
LEAST_PAUSE_SECONDS = 0.004  # timers count in milliseconds: shorter pauses are saved up
DISCARDED_MESSAGES = 2  # of the largest size, so that a client in the middle of one can read the close


class WebSocketProtocol(asyncio.Protocol):
    """One upgraded connection; see `Transport`."""

    __slots__ = (
        "_close_timer",
        "_connection",
        "_handshake",
        "_is_closed_by_client",
        "_is_held",
        "_is_paused",
        "_look_at",
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
        self._is_held = False
        self._received = 0
        self._look_at = MAX_BYTES_BEFORE_AUTH
        self._received_since = 0.0
        self._pause_seconds = 0.0
        self._pongs = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over from uvicorn's HTTP protocol."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no asyncio.Transport by class
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # by duck type

    def connection_lost(self, _error: Exception | None) -> None:
        """Take note that the connection is gone."""
        self._server_state.connections.discard(self)
        if self._close_timer is not None:
            self._close_timer.cancel()
        if self._connection is not None:
            self._connection.closed(CloseCode.ABNORMAL)
        self._handshake = self._connection = self._reader = None

    def shutdown(self) -> None:
        """Close, because the server stops; uvicorn calls this."""
        if self._connection is None:
            self._transport.close()
        else:
            self._connection.close(CloseCode.RESTART, "This node restarts")

    def data_received(self, data: bytes) -> None:
        """Take what came: first the request, as uvicorn's HTTP protocol passes it on, then frames."""
        connection, reader = self._connection, self._reader
        if connection is None or reader is None:
            self._shake_hands(data)
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
        if self._received > self._look_at:
            self._look_at_rate(connection.bytes_per_second)
        if self._pause_seconds or reader.unread or self._pongs or len(data) > BYTES_A_TURN:
            self._end_read(connection, reader, len(data))

    def eof_received(self) -> bool:
        """Close: the client will send no more, so it is gone."""
        return False

    def pause_writing(self) -> None:
        """Hold back: the receiver does not keep up."""
        if self._connection is not None:
            self._connection.outbox.congest()

    def resume_writing(self) -> None:
        """Write on; first answer the latest ping that came meanwhile."""
        if self._connection is not None:
            if self._pongs:
                self._write_raw(self._pongs)
                self._pongs = b""
            self._connection.outbox.relieve()

    def open(self, open_connection: OpenConnection, address: bytes = b"") -> None:
        """Begin to carry frames: the handshake is over. `address` is the salted hash of where it comes from."""
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
        """See `Transport`. If the client has not closed yet, it has a few seconds to answer.

        A stranger who broke the protocol, or flooded, is closed a second later, and not read meanwhile.
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
        can_answer = self._reader is not None and not self._reader.is_over and code not in HOPELESS
        patience = CLOSE_SECONDS if can_answer else DISCARD_SECONDS
        self._close_timer = asyncio.get_running_loop().call_later(patience, self._transport.abort)
        if self._connection is not None:
            self._received, self._look_at = 0, DISCARDED_MESSAGES * self._connection.max_bytes
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
        if not self._is_held:
            self._take_turns()

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

    def _shake_hands(self, data: bytes) -> None:
        """Pass the request to the application. Nothing more is read until it has accepted."""
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
        """Answer pings, and let the others be read before more of this socket is."""
        if self._pongs:
            self._send_pongs(connection)
        if self._pause_seconds >= LEAST_PAUSE_SECONDS:
            self._pause_for(self._pause_seconds)
        elif reader.unread or size > BYTES_A_TURN:
            self._take_turns()

    def _send_pongs(self, connection: Receiver) -> None:
        """Answer the pings of one read with one write, after what already waits for the client."""
        if not connection.outbox.is_congested:
            connection.outbox.flush()
        if not connection.outbox.is_congested:
            self._write_raw(self._pongs)
            self._pongs = b""

    def _take_turns(self) -> None:
        """Let the others be read before more of this socket is; libuv would read on as long as something comes."""
        if not self._is_held:
            self._is_held = True
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_on)

    def _look_at_rate(self, bytes_per_second: int) -> None:
        """Pause reading if bytes come faster than they may: TCP pushes back. After a close, stop reading."""
        if self._close_timer is not None:
            self._is_held = True
            self._transport.pause_reading()
            return
        loop = asyncio.get_running_loop()
        self._look_at = min(bytes_per_second, BYTES_BETWEEN_LOOKS)
        now = loop.time()
        ahead = self._received / bytes_per_second - (now - self._received_since)
        self._received, self._received_since = 0, now + max(0.0, ahead)  # what the pause makes good is no credit
        self._pause_seconds = max(self._pause_seconds, ahead)

    def _pause_for(self, seconds: float) -> None:
        """Pause reading for so long; what was read already waits, too."""
        self._pause_seconds = 0.0
        if not self._is_held:
            self._is_held = True
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(seconds, self._read_on)

    def _read_on(self) -> None:
        """Go on with what was read and put aside, then with what comes."""
        self._is_held = False
        if self._is_paused or self._transport.is_closing():
            return
        if self._reader is not None and self._reader.unread:
            self.data_received(b"")
        if not self._is_held and not self._is_paused:
            self._transport.resume_reading()
