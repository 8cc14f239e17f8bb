"""Client addresses. They are stored, sent and logged only as salted hashes."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

PREFIX_BITS = 64
LOGGED_DIGITS = 12


class Proxies:
    """The reverse proxies whose X-Forwarded-For is trusted (`TRUSTED_PROXIES`)."""

    def __init__(self, networks: Iterable[str]) -> None:
        seen = as_seen(networks)
        no_app: Any = None  # the middleware is used only to parse its trusted hosts
        self._trusted = ProxyHeadersMiddleware(no_app, trusted_hosts=seen).trusted_hosts if seen else None

    def client(self, host: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return the client address of a request from `host`.

        Behind a trusted proxy, this is the rightmost untrusted address in X-Forwarded-For.
        """
        if self._trusted is None or host not in self._trusted:
            return host
        forwarded = b", ".join(value for name, value in headers if name == b"x-forwarded-for")
        if not forwarded:
            return host
        client, _ = self._trusted.get_trusted_client_address(forwarded.decode("latin1"))
        return client or host


class Addresses:
    """Hashes addresses. An IPv6 /64 counts as one address, because a client usually controls all of it."""

    def __init__(self, salt: bytes, trusted_proxies: Iterable[str] = ()) -> None:
        self.salt = salt
        self._proxies = Proxies(trusted_proxies)

    def client(self, host: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """See `Proxies`."""
        return self._proxies.client(host, headers)

    def hashed(self, host: str) -> bytes:
        """Return the 16-byte hash of an address; a host that is not an IP address is hashed as written."""
        return hashlib.blake2b(_network(host).encode(errors="replace"), key=self.salt, digest_size=16).digest()


class ConnectionCounts(Counter[bytes]):
    """The number of open sockets per address. Addresses without sockets are removed."""

    def add(self, address: bytes) -> None:
        """Count an opened socket."""
        self[address] += 1

    def remove(self, address: bytes) -> None:
        """Count a closed socket."""
        self[address] -= 1
        if not self[address]:
            del self[address]


def logged(address: bytes) -> str:
    """Return the first digits of a hash, enough to distinguish addresses in a log."""
    return address.hex()[:LOGGED_DIGITS]


def as_seen(networks: Iterable[str]) -> list[str]:
    """Return the networks; each IPv4 network also in the form that an IPv6 socket sees (RFC 4291 section 2.5.5.2)."""
    seen: list[str] = []
    for network in map(ip_network, networks):
        seen.append(str(network))
        if network.version == 4:  # noqa: PLR2004 - IPv4
            seen.append(f"::ffff:{network.network_address}/{network.prefixlen + 96}")
    return seen


def _network(host: str) -> str:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, PREFIX_BITS), strict=False))
