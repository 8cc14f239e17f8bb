"""What can go wrong."""

NORMAL = 1000
ABNORMAL = 1006
UNAUTHENTICATED = 4001


class PeerSyncError(Exception):
    """Whatever this client raises by itself."""


class RefusedError(PeerSyncError):
    """The server answered `ERROR` or `AUTH_FAILED`: `code` is one of `peersync.ErrorCode`, as `ERR_3001`.

    `retry_after` tells, in seconds, when to try again; it is None unless too much was sent (`ERR_5004`).
    """

    def __init__(self, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after = retry_after


class UnreachableError(PeerSyncError):
    """The first attempt to connect failed; its cause says why. Later ones are repeated instead."""


class DisconnectedError(PeerSyncError, ConnectionError):
    """There is no connection now, or it was lost before the answer came: ask again after the next `AuthSuccess`."""


class ClosedError(PeerSyncError):
    """It is over: the client has closed, or the server closed with a `code` after which a client must not come back.

    Its cause is what the server refused, if it said so.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} (close code {code})")
        self.code = code
        self.reason = reason
