"""The port that a server is to listen on."""

import socket
import sys

from app.settings import Settings

ALL_IPV6 = "::"


def try_port(settings: Settings) -> None:
    """Find out whether HOST and PORT can be listened on; raises `OSError` if not."""
    bound(settings).close()


def bound(settings: Settings) -> socket.socket:
    """Return a socket of HOST and PORT; that of `::` takes IPv4 as well. Raises `OSError` if they cannot be had."""
    family, _, _, _, address = socket.getaddrinfo(settings.bind_host, settings.port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family)
    try:
        if sys.platform != "win32":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, settings.bind_host != ALL_IPV6)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
