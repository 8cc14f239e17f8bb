"""Where connections come from: never kept, sent or logged but as a salted hash."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

PREFIX_BITS = 64
LOGGED_DIGITS = 12


class Proxies:
    """The reverse proxies that are trusted to say where a request comes from (`TRUSTED_PROXIES`)."""

    def __init__(self, networks: Iterable[str]) -> None:
        seen = as_seen(networks)
        nowhere: Any = None  # no application: the middleware only says whom it trusts
        self._trusted = ProxyHeadersMiddleware(nowhere, trusted_hosts=seen).trusted_hosts if seen else None

    def client(self, host: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return where a request from `host` comes from: the rightmost untrusted address in X-Forwarded-For."""
        if self._trusted is None or host not in self._trusted:
            return host
        forwarded = b", ".join(value for name, value in headers if name == b"x-forwarded-for")
        if not forwarded:
            return host
        client, _ = self._trusted.get_trusted_client_address(forwarded.decode("latin1"))
        return client or host


class Addresses:
    """Hashes addresses. Whoever has one IPv6 address has the /64 around it, so that is what counts as one address."""

    def __init__(self, salt: bytes, trusted_proxies: Iterable[str] = ()) -> None:
        self.salt = salt
        self._proxies = Proxies(trusted_proxies)

    def client(self, host: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """See `Proxies`."""
        return self._proxies.client(host, headers)

    def hashed(self, host: str) -> bytes:
        """Return 16 bytes, the same for all of one address; a host that is no IP address counts as it is written."""
        return hashlib.blake2b(_network(host).encode(errors="replace"), key=self.salt, digest_size=16).digest()


class ConnectionCounts(Counter[bytes]):
    """How many sockets each address has; those with none are forgotten."""

    def add(self, address: bytes) -> None:
        """Count one in."""
        self[address] += 1

    def remove(self, address: bytes) -> None:
        """Count one out."""
        self[address] -= 1
        if not self[address]:
            del self[address]


def logged(address: bytes) -> str:
    """Return the beginning of a hash, enough to tell addresses apart in a log."""
    return address.hex()[:LOGGED_DIGITS]


def as_seen(networks: Iterable[str]) -> list[str]:
    """Return the networks, each IPv4 one also as a socket that listens on IPv6 sees it (RFC 4291 section 2.5.5.2)."""
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
