"""Where a command finds its server."""

from ssl import SSLContext
from typing import NamedTuple

from app.auth.certificate import certificate
from app.settings import Settings


class Address(NamedTuple):
    """The URL of a socket, and what makes its certificate trusted if it is not what the system trusts."""

    url: str
    tls: SSLContext | None = None


def address(url: str | None, settings: Settings) -> Address:
    """Return the server that was asked for, or by default the one of these settings on this machine.

    Of that the certificate is known, so it is trusted, and no other. Raises `SettingsError` if it cannot be read.
    """
    if url is not None:
        return Address(url)
    own = certificate(settings)
    where = f"{settings.near_host}:{settings.port}{settings.ws_path}"
    return Address(f"ws://{where}") if own is None else Address(f"wss://{where}", own.trust())
