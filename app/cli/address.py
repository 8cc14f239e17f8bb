"""Where a command finds its server."""

from ssl import SSLContext
from typing import NamedTuple

from app.auth.certificate import certificate
from app.settings import Settings


class Address(NamedTuple):
    """The URL of a socket, and the TLS context that trusts its certificate; None if the system's will do."""

    url: str
    tls: SSLContext | None = None


def address(url: str | None, settings: Settings) -> Address:
    """Return the address of the server at `url`, or by default of the one with these settings on this machine.

    The latter's certificate is in a file here, so only that certificate is trusted. Raises `SettingsError` if it cannot
    be read.
    """
    if url is not None:
        return Address(url)
    own = certificate(settings)
    where = f"{settings.near_host}:{settings.port}{settings.ws_path}"
    return Address(f"ws://{where}") if own is None else Address(f"wss://{where}", own.trust())
