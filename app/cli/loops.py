"""The event loop to serve TLS with: one that bounds a handshake, which uvicorn leaves at a minute."""

import sys
from typing import Any

if sys.platform == "win32":
    from asyncio import ProactorEventLoop as Loop
else:
    from uvloop import Loop

HANDSHAKE_SECONDS = 10.0
SHUTDOWN_SECONDS = 5.0


class TlsLoop(Loop):
    """Gives a client ten seconds for the handshake of TLS, as it has for a request, and five for its end."""

    async def create_server(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as it comes
        """Listen."""
        base: Any = super().create_server
        return await base(
            *args, ssl_handshake_timeout=HANDSHAKE_SECONDS, ssl_shutdown_timeout=SHUTDOWN_SECONDS, **options
        )
