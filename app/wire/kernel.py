"""Asks the kernel how much of the data written to a connection has been acknowledged."""

import fcntl
import socket
import struct
import sys
import termios
from typing import NamedTuple, Protocol

_TCP_INFO_BYTES = 192
_BYTES_ACKED = struct.Struct("Q").unpack_from
_BYTES_ACKED_AT = 120  # `tcpi_bytes_acked` in `struct tcp_info` of linux/tcp.h, since Linux 4.1
_QUEUED = struct.Struct("i")


class Progress(NamedTuple):
    """How many bytes the peer's kernel has acknowledged in total, and whether more are unacknowledged."""

    acknowledged: int
    is_waiting: bool


UNKNOWN = Progress(0, is_waiting=False)


class TcpSocket(Protocol):
    """The part of a socket used here; the sockets of uvloop's transports have little more."""

    def fileno(self) -> int:
        """Return the file descriptor."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Return an option as bytes."""


def progress(connection: TcpSocket) -> Progress:
    """Return the progress of writes to a TCP connection; `UNKNOWN` if the kernel cannot tell."""
    if not sys.platform.startswith("linux"):  # pragma: no cover - another platform
        return UNKNOWN
    try:
        queued = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(_QUEUED.size))
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        return Progress(_BYTES_ACKED(info, _BYTES_ACKED_AT)[0], is_waiting=_QUEUED.unpack(queued)[0] > 0)
    except (OSError, ValueError, struct.error):
        return UNKNOWN
