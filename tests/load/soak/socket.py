"""The socket of a soaking peer: frames in and out, and the ways to lose it."""

from collections.abc import Callable

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from schemas.errors import CloseCode

PATIENCE = 20.0
_CLOSE_CODE_BYTES = 2


class Socket(WSListener):
    """A connection; `receive` gets its text frames, `closed` the code with which the server closed, or 1006."""

    def __init__(
        self, receive: Callable[["Socket", memoryview], None], closed: Callable[["Socket", int], None]
    ) -> None:
        self._receive = receive
        self._closed = closed
        self._transport: WSTransport | None = None
        self._close_code: int = CloseCode.ABNORMAL

    async def connect(self, url: str) -> None:
        """Connect; raises `OSError` or `picows.WSError`."""
        await ws_connect(lambda: self, url, websocket_handshake_timeout=PATIENCE, max_redirects=0)

    def send(self, frame: bytes) -> None:
        """Send a text frame, if the connection is there."""
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, frame)

    def cut(self) -> None:
        """Lose the connection without a word."""
        if self._transport is not None:
            self._transport.underlying_transport.abort()

    def stall(self) -> None:
        """Read no more, and so answer no heartbeat."""
        if self._transport is not None:
            self._transport.underlying_transport.pause_reading()

    def leave(self) -> None:
        """Say goodbye."""
        if self._transport is not None:
            self._transport.send_close(WSCloseCode.OK)
            self._transport.disconnect()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Take note of the connection."""
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take what comes; pings are answered by picows."""
        if frame.msg_type == WSMsgType.CLOSE:
            payload = frame.get_payload_as_bytes()
            self._close_code = int.from_bytes(payload[:_CLOSE_CODE_BYTES], "big") or CloseCode.NO_STATUS
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        else:
            self._receive(self, frame.get_payload_as_memoryview())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Tell that the connection is gone."""
        self._transport = None
        self._closed(self, self._close_code)
