"""The event loop for TLS: it bounds the handshake, for which uvicorn allows a minute."""

import sys
from typing import Any

if sys.platform == "win32":
    from asyncio import ProactorEventLoop as Loop
else:
    from uvloop import Loop

HANDSHAKE_SECONDS = 10.0
SHUTDOWN_SECONDS = 5.0


class TlsLoop(Loop):
    """Gives a client ten seconds for the TLS handshake, as for a request, and five for closing it."""

    async def create_server(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as it comes
        """Listen."""
        base: Any = super().create_server
        return await base(
            *args, ssl_handshake_timeout=HANDSHAKE_SECONDS, ssl_shutdown_timeout=SHUTDOWN_SECONDS, **options
        )
