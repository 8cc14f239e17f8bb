"""The port that a server is to listen on."""

import socket
import sys

from app.settings import Settings


def try_port(settings: Settings) -> None:
    """Find out whether HOST and PORT can be listened on; raises `OSError` if not."""
    family, _, _, _, address = socket.getaddrinfo(settings.bind_host, settings.port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
