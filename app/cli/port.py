"""The port that a server is to listen on."""

import socket
import sys

from app.settings import Settings

ALL_IPV6 = "::"


def try_port(settings: Settings) -> None:
    """Find out whether HOST and PORT can be listened on; raises `OSError` if not."""
    bind(settings).close()


def bind(settings: Settings) -> socket.socket:
    """Return a socket bound to HOST and PORT, on `::` for IPv4 as well; raises `OSError` if it cannot be bound."""
    family, _, _, _, address = socket.getaddrinfo(settings.bind_host, settings.port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family)
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, settings.bind_host != ALL_IPV6)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener
