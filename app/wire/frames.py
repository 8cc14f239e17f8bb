"""WebSocket frames without I/O: the server side of RFC 6455 section 5, without extensions.

`FrameReader.feed` takes bytes as they arrive and returns the events that they complete: text messages as `bytes` of
valid UTF-8, checked as they arrive; else `Binary`, `Ping`, `Pong`, `Close` or, once and last, `Violation`.
"""

import codecs
import struct

from msgspec import Struct

from schemas.errors import CloseCode

try:
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover - websockets without its C extension
    from websockets.utils import apply_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RESERVED, MASKED = 0x80, 0x70, 0x80
MAX_CONTROL = 125
FRAMES_AT_ONCE = 64
SERVER_CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
_WHOLE_TEXT = FIN | TEXT
_SHORT_HEADERS = tuple(bytes((FIN | TEXT, length)) for length in range(126))
_medium_header = struct.Struct("!BBH").pack
_long_header = struct.Struct("!BBQ").pack
_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class Binary(Struct, frozen=True):
    """A binary message."""

    payload: bytes


class Ping(Struct, frozen=True):
    """A ping from the client."""

    payload: bytes


class Pong(Struct, frozen=True):
    """A pong from the client."""


class Close(Struct, frozen=True):
    """A close frame from the client; `code` is 1005 if it has none."""

    code: int


class Violation(Struct, frozen=True):
    """The client violated the protocol; close with this code."""

    code: CloseCode
    reason: str


Event = bytes | Binary | Ping | Pong | Close | Violation


class _ViolationError(Exception):
    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.violation = Violation(code, reason)


class FrameReader:
    """Reads a client's frames. `limit` is the maximum size of a message in bytes, and may change at any time.

    One call of `feed` reads about `FRAMES_AT_ONCE` frames; the rest stays in `unread` for the next call.
    `extras` counts the pings and the non-final fragments of the latest call.
    """

    __slots__ = (
        "_decoder",
        "_head",
        "_is_at_boundary",
        "_left",
        "_mask",
        "_message",
        "_opcode",
        "_payload",
        "extras",
        "is_over",
        "limit",
        "unread",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._head = b""
        self._opcode: int | None = None
        self._left = 0
        self._mask = b""
        self._payload: bytearray | None = None
        self._message: bytearray | None = None
        self._decoder: codecs.IncrementalDecoder | None = None
        self._is_at_boundary = True
        self.extras = 0
        self.unread = b""
        self.is_over = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that the next bytes complete. After a `Close` or a `Violation` there are none."""
        events: list[Event] = []
        self.extras = 0
        if self.unread:
            data, self.unread = self.unread + data, b""
        if self._is_at_boundary:
            data = self._read_whole_texts(data, events)
        if data and not self.is_over:
            if len(events) == FRAMES_AT_ONCE:
                self.unread = data
                return events
            try:
                self._read_frames(self._head + data, events)
            except _ViolationError as error:
                self.is_over = True
                events.append(error.violation)
            is_inside = self._head or self._message is not None or self._opcode is not None
            self._is_at_boundary = not (self.is_over or is_inside)
        return events

    def stop(self) -> None:
        """Stop reading: from now on `feed` returns no events."""
        self.is_over, self._is_at_boundary, self.unread = True, False, b""

    def _read_whole_texts(self, data: bytes, events: list[Event]) -> bytes:
        """Read text messages that arrived whole, as nearly all do; return the rest, for `_read_frames`."""
        position, size, limit, room = 0, len(data), self.limit, FRAMES_AT_ONCE
        while room and size - position > 8 and data[position] == _WHOLE_TEXT:  # noqa: PLR2004 - the longest header below
            length = data[position + 1] - MASKED
            start = position + 6
            if length == 126:  # noqa: PLR2004 - RFC 6455 section 5.2
                length = data[position + 2] << 8 | data[position + 3]
                start = position + 8
                if length < 126:  # noqa: PLR2004
                    break
            elif not 0 <= length < 126:  # noqa: PLR2004
                break
            end = start + length
            if end > size or length > limit:
                break
            payload = apply_mask(data[start:end], data[start - 4 : start])
            if not payload.isascii() and not is_utf8(payload):
                break
            events.append(payload)
            room -= 1
            position = end
        return data[position:] if position else data

    def _read_frames(self, data: bytes, events: list[Event]) -> None:
        position, room = 0, FRAMES_AT_ONCE
        while not self.is_over:
            if self._opcode is None:
                if not room:
                    self.unread, data, position = data[position:], b"", 0
                    break
                room -= 1
                start = self._read_header(data, position)
                if start == position:
                    break
                position = start
            piece = data[position : position + self._left]
            position += len(piece)
            self._read_payload(piece)
            if self._left:
                break
            event = self._end_frame()
            if event is not None:
                events.append(event)
        self._head = data[position:] if self._opcode is None else b""

    def _read_header(self, data: bytes, position: int) -> int:
        """Read a frame's header; return where its payload starts, or `position` if the header is incomplete."""
        header = data[position : position + 14]
        if len(header) < 2:  # noqa: PLR2004
            return position
        opcode, length, at = header[0] & 0x0F, header[1] & 0x7F, 2
        _check_first_bytes(header[0], header[1])
        if length >= 126:  # noqa: PLR2004
            width = 2 if length == 126 else 8  # noqa: PLR2004
            at += width
            if len(header) < at:
                return position
            length = int.from_bytes(header[2:at], "big")
            if length < (126 if width == 2 else 65_536) or length >> 63:  # noqa: PLR2004
                raise _ViolationError(CloseCode.PROTOCOL_ERROR, "a length not in its shortest form")
        self._check_sequence(opcode, length)
        if len(header) < at + 4:
            return position
        self._opcode, self._left, self._mask = header[0], length, header[at : at + 4]
        if opcode == PING or not header[0] & FIN:
            self.extras += 1
        self._payload = bytearray() if opcode >= CLOSE else None
        if opcode in {TEXT, BINARY}:
            self._message, self._decoder = bytearray(), _utf8_decoder() if opcode == TEXT else None
        return position + at + 4

    def _check_sequence(self, opcode: int, length: int) -> None:
        if opcode >= CLOSE:
            return
        if (opcode == CONTINUATION) != (self._message is not None):
            raise _ViolationError(CloseCode.PROTOCOL_ERROR, "a fragment out of sequence")
        if length + len(self._message or b"") > self.limit:
            raise _ViolationError(CloseCode.TOO_LARGE, f"a message exceeds the current limit of {self.limit} bytes")

    def _read_payload(self, piece: bytes) -> None:
        if not piece:
            return
        payload = apply_mask(piece, self._mask)
        self._left -= len(piece)
        turn = len(piece) % 4
        self._mask = self._mask[turn:] + self._mask[:turn]
        if self._payload is not None:
            self._payload += payload
        elif self._message is not None:
            self._check_utf8(payload, is_final=False)
            self._message += payload

    def _end_frame(self) -> Event | None:
        first, self._opcode = self._opcode or 0, None
        if self._payload is not None:
            payload, self._payload = bytes(self._payload), None
            return self._control_event(first & 0x0F, payload)
        if not first & FIN or self._message is None:
            return None
        self._check_utf8(b"", is_final=True)
        message, self._message = bytes(self._message), None
        return Binary(message) if self._decoder is None else message

    def _control_event(self, opcode: int, payload: bytes) -> Event:
        if opcode == PING:
            return Ping(payload)
        if opcode == PONG:
            return Pong()
        self.is_over = True
        return _close(payload)

    def _check_utf8(self, payload: bytes, *, is_final: bool) -> None:
        if self._decoder is None:
            return
        try:
            self._decoder.decode(payload, is_final)
        except UnicodeDecodeError:
            raise _ViolationError(CloseCode.BAD_UTF8, "a text message is not UTF-8") from None


def is_utf8(payload: bytes) -> bool:
    """Whether the bytes are valid UTF-8."""
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def text_frames(payloads: list[bytes]) -> bytes:
    """Return the messages as unmasked text frames, concatenated."""
    if len(payloads) == 1:
        return _header(len(payloads[0])) + payloads[0]
    parts: list[bytes] = []
    for payload in payloads:
        parts += (_header(len(payload)), payload)
    return b"".join(parts)


def control_frame(opcode: int, payload: bytes = b"") -> bytes:
    """Return a control frame; the payload must have at most 125 bytes."""
    return bytes((FIN | opcode, len(payload))) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a close frame; omits a code that must not be sent (1005), and truncates a long reason."""
    if code not in SERVER_CLOSE_CODES:
        return control_frame(CLOSE)
    text = reason.encode()[: MAX_CONTROL - 2].decode(errors="ignore").encode()
    return control_frame(CLOSE, struct.pack("!H", code) + text)


def _header(length: int) -> bytes:
    if length < 126:  # noqa: PLR2004
        return _SHORT_HEADERS[length]
    if length < 65_536:  # noqa: PLR2004
        return _medium_header(FIN | TEXT, 126, length)
    return _long_header(FIN | TEXT, 127, length)


def _check_first_bytes(first: int, second: int) -> None:
    opcode = first & 0x0F
    if first & RESERVED:
        raise _ViolationError(CloseCode.PROTOCOL_ERROR, "a reserved bit is set")
    if opcode not in {CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG}:
        raise _ViolationError(CloseCode.PROTOCOL_ERROR, "a reserved opcode")
    if not second & MASKED:
        raise _ViolationError(CloseCode.PROTOCOL_ERROR, "a client frame is not masked")
    if opcode >= CLOSE and (not first & FIN or second & 0x7F > MAX_CONTROL):
        raise _ViolationError(CloseCode.PROTOCOL_ERROR, "a control frame is fragmented or too long")


def _close(payload: bytes) -> Close:
    if not payload:
        return Close(CloseCode.NO_STATUS)
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or code not in SERVER_CLOSE_CODES:
        raise _ViolationError(CloseCode.PROTOCOL_ERROR, "an invalid close code")
    if not is_utf8(payload[2:]):
        raise _ViolationError(CloseCode.BAD_UTF8, "a close reason is not UTF-8")
    return Close(code)
