"""Origins of web pages (RFC 6454), and the origin patterns in settings."""

import re
from collections.abc import Iterable

ANY = "*"
PATTERN = r"^(\*|null|[a-z][a-z0-9+.-]*://(\*(:[0-9]{1,5})?|(\*\.)?[^/\s*]+))$"
"""The syntax of an origin in a setting, in lower case."""

ALLOWED = (
    "comma-separated origins such as https://ide.example.com; a * matches one label, as in https://*.example.com,"
    " a whole host, as in vscode-webview://*, or, alone, every origin"
)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_LABEL = r"[^./:\[\]\s]+"
_HOST = r"(?:\[[0-9a-f:.]+\]|[^/:\[\]\s]+)"


def parsed(setting: str) -> tuple[str, ...]:
    """Return the origins in a comma-separated setting, in lower case and without trailing slashes."""
    parts = (part.strip().lower().rstrip("/") for part in setting.split(","))
    return tuple(part for part in parts if part)


def matcher(origins: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that fully matches these origins, in any case, with or without the default port."""
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
