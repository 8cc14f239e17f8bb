"""Protects endpoints without tokens from requests by foreign web pages.

A page can make its own host name resolve to this machine (DNS rebinding). The request's `Host` is then that name.
"""

import re
from ipaddress import ip_address
from socket import gethostname

from starlette.requests import Request

from app.admission.upgrade_policy import LOOPBACK
from app.origins import ANY, matcher, parsed
from app.settings import Settings

_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^\s:/@\[\]]+)(?::[0-9]+)?")


def is_trusted(request: Request, settings: Settings) -> bool:
    """Whether `Host` is this machine, and `Origin`, if present, matches `Host` or is listed in `CORS_ORIGIN`.

    A `*` in `CORS_ORIGIN` matches nothing here.
    """
    hosts = request.headers.getlist("host")
    if len(hosts) > 1:
        return False
    named = hosts[0].lower() if hosts else None
    return _is_trusted_host(named, settings) and _is_trusted_origin(request.headers.get("origin"), named, settings)


def _is_trusted_host(named: str | None, settings: Settings) -> bool:
    """Whether `Host` is a name that no foreign name server can resolve. Browsers always send a `Host`.

    A server on a loopback address accepts only loopback names. Any other server also accepts IP addresses, names
    without a dot and the machine's own host name. Starlette's own parser would accept malformed values.
    """
    if named is None:
        return True
    match = _AUTHORITY.fullmatch(named)
    if match is None:
        return False
    host = match["host"].strip("[]")
    if host in LOOPBACK:
        return True
    return not settings.is_loopback and (_is_address(host) or "." not in host or host == gethostname().lower())


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_trusted_origin(origin: str | None, named: str | None, settings: Settings) -> bool:
    if origin is None or (named and origin.lower() in {f"http://{named}", f"https://{named}"}):
        return True
    listed = (each for each in parsed(settings.cors_origin) if each != ANY)
    return matcher(listed).fullmatch(origin) is not None
