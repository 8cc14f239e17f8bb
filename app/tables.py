"""The handler tables that are served: ours, listed here, and those of plugins, listed in the setting PLUGINS."""

import importlib
from collections.abc import Iterable

from app.settings import SettingsError
from handlers.events import auth, connections, heartbeat, messages, peers, sessions
from handlers.table import HandlerTable, Route, TableError, merge

TABLES = (auth.table, heartbeat.table, peers.table, connections.table, sessions.table, messages.table)


def load_routes(plugins: Iterable[str]) -> dict[str, Route]:
    """Return all routes by event name; raises `SettingsError` for an unusable plugin."""
    try:
        return merge([*TABLES, *map(_load, plugins)])
    except TableError as error:
        raise SettingsError(f"PLUGINS: {error}") from None


def _load(module: str) -> HandlerTable:
    try:
        table = getattr(importlib.import_module(module), "table", None)
    except Exception as error:  # noqa: BLE001 - this runs a plugin's code; any error in it prevents the start
        reason = f"{type(error).__name__}: {error}"
        raise SettingsError(f"PLUGINS names {module!r}, which cannot be imported ({reason})") from None
    if not isinstance(table, HandlerTable):
        raise SettingsError(f"PLUGINS names {module!r}, which has no HandlerTable named `table`")
    return table
