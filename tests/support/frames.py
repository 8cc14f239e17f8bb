"""Frames of a client, made by hand (RFC 6455 section 5.2)."""

import struct

from websockets.utils import apply_mask

MASK = b"\x01\x02\x03\x04"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def masked(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0) -> bytes:
    """Return a frame."""
    return head(opcode, len(payload), fin=fin, reserved=reserved) + apply_mask(payload, MASK)


def head(opcode: int, length: int, *, fin: bool = True, reserved: int = 0) -> bytes:
    """Return what comes before the payload of a frame; `reserved` has its three bits."""
    first = opcode | reserved << 4 | (0x80 if fin else 0)
    if length < 126:
        return bytes((first, 0x80 | length)) + MASK
    if length < 65_536:
        return bytes((first, 0xFE)) + struct.pack("!H", length) + MASK
    return bytes((first, 0xFF)) + struct.pack("!Q", length) + MASK


def text(event: str, data: str = "{}") -> bytes:
    """Return an event's frame."""
    return masked(TEXT, f'{{"event":"{event}","data":{data}}}'.encode())
