"""Addresses, hashed."""

import pytest

from app.admission.addresses import Addresses, ConnectionCounts, as_seen, logged

SAME = [
    ("192.0.2.1", "::ffff:192.0.2.1"),
    ("2001:db8::1", "2001:db8:0:0:ffff::2"),
    ("fe80::1%eth0", "fe80::2"),
    ("::1", "::1"),
    ("", ""),
    ("unix:", "unix:"),
]
DIFFERENT = [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8:0:1::1"), ("", "unknown")]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_same(one: str, other: str) -> None:
    """An IPv4 address is the same however it is written, and an IPv6 address counts with its /64."""
    addresses = Addresses(b"salt")
    assert addresses.hashed(one) == addresses.hashed(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different(one: str, other: str) -> None:
    """Addresses of different networks are different ones."""
    addresses = Addresses(b"salt")
    assert addresses.hashed(one) != addresses.hashed(other)


def test_salted() -> None:
    """The same address has another hash under another salt, and a log shows a part of that."""
    one, other = Addresses(b"one").hashed("192.0.2.1"), Addresses(b"other").hashed("192.0.2.1")
    assert one != other
    assert one.hex().startswith(logged(one))
    assert len(logged(one)) == 12


def test_as_seen() -> None:
    """An IPv4 proxy is known on a socket that listens on IPv6 as well."""
    assert as_seen(["10.0.0.0/8", "2001:db8::/32"]) == ["10.0.0.0/8", "::ffff:10.0.0.0/104", "2001:db8::/32"]


def test_crowds() -> None:
    """An address without sockets is forgotten."""
    connection_counts = ConnectionCounts()
    for change in (connection_counts.add, connection_counts.add, connection_counts.remove):
        change(b"here")
    assert connection_counts == {b"here": 1}
    connection_counts.remove(b"here")
    assert not connection_counts
