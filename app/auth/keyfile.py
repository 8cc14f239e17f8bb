"""The public keys in PEM, and the file that holds them, which may change at any time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
from anyio import to_thread
from structlog.typing import FilteringBoundLogger

from app.auth.algorithms import Key
from app.auth.keys import parse_public_keys, read_key
from app.settings import Algorithm, Settings, SettingsError

POLL_SECONDS = 1.0


class KeyFile:
    """The keys of `JWT_PUBLIC_KEY_PATH`, reloaded when the file changes, or those of `JWT_PUBLIC_KEY`.

    Reads the file every second rather than watching it. This also detects changes of a swapped symbolic link (as
    Kubernetes makes for a secret), of a file mounted into a container and of a file on a network.
    """

    def __init__(self, settings: Settings, keys: Sequence[Key], log: FilteringBoundLogger) -> None:
        self.by_kid = _by_kid(keys)
        self._is_inline = bool(settings.jwt_public_key)
        self._path = settings.jwt_public_key_path
        self._algorithms = settings.jwt_algorithms
        self._content: bytes | str | None = None
        self._log = log

    @property
    def keys(self) -> Sequence[Key]:
        """The keys in file order."""
        return list(self.by_kid.values())

    async def run(self) -> None:
        """Poll the file until cancelled."""
        while not self._is_inline:
            await anyio.sleep(POLL_SECONDS)
            await self.refresh()

    async def refresh(self) -> None:
        """Reload the keys if the file has changed; if it is unusable, keep the last good keys and log an error."""
        content = await to_thread.run_sync(_content, self._path, abandon_on_cancel=True)
        if content == self._content:
            return
        self._content = content
        try:
            self._replace(_keys(content, self._path, self._algorithms))
        except SettingsError as error:
            if self.by_kid:
                advice = "the last good keys stay in use; write new keys to another file and rename it over this one"
                self._log.error("public keys not loaded", reason=str(error), advice=advice)

    def _replace(self, keys: Sequence[Key]) -> None:
        before, self.by_kid = self.by_kid, _by_kid(keys)
        if list(before) != list(self.by_kid):
            self._log.info("public keys changed", path=str(self._path), before=list(before), after=list(self.by_kid))


def _content(path: Path) -> bytes | str:
    """Return the file's content, or, as a string, why it cannot be read."""
    try:
        return read_key(path)
    except SettingsError as error:
        return str(error)


def _keys(content: bytes | str, path: Path, algorithms: Sequence[Algorithm]) -> Sequence[Key]:
    if isinstance(content, str):
        raise SettingsError(content)
    return parse_public_keys(content, f"JWT_PUBLIC_KEY_PATH {path}", algorithms)


def _by_kid(keys: Sequence[Key]) -> Mapping[str, Key]:
    """Return the keys by their thumbprints (RFC 7638)."""
    return {key.thumbprint(): key for key in keys}
