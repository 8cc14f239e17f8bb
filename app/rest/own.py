"""Whether a request comes from this server's own people, or from a web page of elsewhere.

A page may have a name of its own resolve to this machine (DNS rebinding); then its `Host` is that name.
"""

import re
from ipaddress import ip_address
from socket import gethostname

from starlette.requests import Request

from app.admission.origins import ANY, matcher, parsed
from app.settings import Settings
from app.wire.door import LOOPBACK

_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^\s:/@\[\]]+)(?::[0-9]+)?")


def is_own(request: Request, settings: Settings) -> bool:
    """Whether the request names this machine, and no page sent it but our own and those of `CORS_ORIGIN`.

    That `CORS_ORIGIN` is `*` counts for nothing here.
    """
    hosts = request.headers.getlist("host")
    if len(hosts) > 1:
        return False
    named = hosts[0].lower() if hosts else None
    return _is_own_host(named, settings) and _is_own_origin(request.headers.get("origin"), named, settings)


def _is_own_host(named: str | None, settings: Settings) -> bool:
    """Whether nobody else can have the name in a `Host` lead to here. Starlette's parser would pass over an odd one.

    A server that only this machine can reach has a loopback name. Another one may have any address, any name without a
    dot, and the name of its machine: to none of these can a stranger's name server answer. Browsers always send one.
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


def _is_own_origin(origin: str | None, named: str | None, settings: Settings) -> bool:
    if origin is None or (named and origin.lower() in {f"http://{named}", f"https://{named}"}):
        return True
    listed = (each for each in parsed(settings.cors_origin) if each != ANY)
    return matcher(listed).fullmatch(origin) is not None
