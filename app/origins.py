"""Origins of web pages (RFC 6454), and patterns of them as settings have them."""

import re
from collections.abc import Iterable

ANY = "*"
PATTERN = r"^(\*|null|[a-z][a-z0-9+.-]*://(\*(:[0-9]{1,5})?|(\*\.)?[^/\s*]+))$"
"""What an origin in a setting may be, in lower case."""

ALLOWED = (
    "origins such as https://ide.example.com, comma-separated; a * stands for one label, as in https://*.example.com,"
    " for a whole host, as in vscode-webview://*, or alone for every origin"
)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_LABEL = r"[^./:\[\]\s]+"
_HOST = r"(?:\[[0-9a-f:.]+\]|[^/:\[\]\s]+)"


def parsed(setting: str) -> tuple[str, ...]:
    """Return the origins of a comma-separated setting, in lower case and without slashes at their ends."""
    parts = (part.strip().lower().rstrip("/") for part in setting.split(","))
    return tuple(part for part in parts if part)


def matcher(origins: Iterable[str]) -> re.Pattern[str]:
    """Return what matches the whole of an origin that is one of these, in any case, with or without a default port."""
    return re.compile("|".join(map(_expression, origins)) or r"(?!)", re.IGNORECASE)


def _expression(origin: str) -> str:
    if origin == ANY:
        return r".*"
    scheme, separator, authority = origin.partition("://")
    if not separator:
        return re.escape(origin)
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdecimal():
        host, port = authority, _DEFAULT_PORTS.get(scheme, "")
    is_default = port == _DEFAULT_PORTS.get(scheme, "")
    port_expression = f"(?::{port})?" if port and is_default else f":{port}" if port else ""
    return f"{re.escape(scheme)}://{_host(host)}{port_expression}"


def _host(host: str) -> str:
    if host == ANY:
        return _HOST
    if host.startswith("*."):
        return _LABEL + re.escape(host[1:])
    return re.escape(host)
