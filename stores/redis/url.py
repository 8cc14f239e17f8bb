"""The URL of the store, and what it may say. No error has a word of it that may be half of a password."""

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

SENTINEL_SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
SENTINEL_OPTIONS = {"sentinel_username": "username", "sentinel_password": "password"}
TLS_OPTIONS = (
    *("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_cert_reqs", "ssl_check_hostname"),
    *("ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_ciphers"),
)
OPTIONS = ("namespace", "username", "password", "client_name", "socket_timeout", "socket_connect_timeout")
QUOTING = "reserved characters of a password are written with %"


def places(parts: SplitResult) -> list[SplitResult]:
    """Return the hosts of a URL, each with its port."""
    return [urlsplit(f"//{place}") for place in parts.netloc.rpartition("@")[2].split(",")]


def check_form(parts: SplitResult) -> None:
    """Raise `ValueError` for what redis-py would pass over, or take though we cannot work with it."""
    _check_places(parts)
    if parts.scheme not in SENTINEL_SCHEMES and not re.fullmatch("/?|/[0-9]+", parts.path):
        raise ValueError("after the host comes / and the number of its database, or nothing")
    _check_options(parts)


def _check_places(parts: SplitResult) -> None:
    try:
        _ = [place.port for place in places(parts)]
    except ValueError:
        raise ValueError(f"a port in it is no number; {QUOTING}") from None
    if parts.fragment:
        raise ValueError(f"there is a # in it; {QUOTING}")


def _check_options(parts: SplitResult) -> None:
    known = _known(parts.scheme)
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise ValueError(_why_not(name, parts))
        if not value:
            raise ValueError(f"{name} has no value")


def _known(scheme: str) -> list[str]:
    tls = TLS_OPTIONS if scheme.startswith("rediss") else ()
    return [*OPTIONS, *tls, *(SENTINEL_OPTIONS if scheme in SENTINEL_SCHEMES else ())]


def _why_not(name: str, parts: SplitResult) -> str:
    if name in SENTINEL_OPTIONS:
        return f"{name} is for redis+sentinel:// and rediss+sentinel:// only"
    if name in TLS_OPTIONS:
        return f"{name} is for rediss:// and rediss+sentinel:// only"
    what = "an option" if "@" in parts.query else repr(name)
    return f"{what} is not known; its options may be {', '.join(_known(parts.scheme))}"
