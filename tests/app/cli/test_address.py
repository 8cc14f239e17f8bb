"""Where a server listens, and where commands on this machine find it."""

import socket

import pytest
from click.testing import CliRunner

from app.cli.address import address
from app.cli.commands import main
from app.cli.port import bind
from app.cli.server import greeting
from app.settings import read_settings
from tests.support.server import free_port
from tests.support.tokens import Keys

PLACES = [
    ("", "127.0.0.1", "127.0.0.1"),
    ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
    ("0.0.0.0", "0.0.0.0", "127.0.0.1"),
    ("::", "[::]", "[::1]"),
    ("::1", "[::1]", "[::1]"),
    ("[::1]", "[::1]", "[::1]"),
    ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
    ("2001:db8::7", "[2001:db8::7]", "[2001:db8::7]"),
    ("localhost", "localhost", "localhost"),
]

has_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize(("host", "listens_on", "near"), PLACES)
def test_urls(host: str, listens_on: str, near: str) -> None:
    """The greeting and the commands have the URL by which this machine reaches the server."""
    settings = read_settings({"HOST": host, "PORT": "4000"}, None)
    assert settings.bind_address == f"{listens_on}:4000"
    assert address(None, settings).url == f"ws://{near}:4000/ws"
    assert f"  ws://{near}:4000/ws\n" in greeting(settings, 4000)
    assert f"  http://{near}:4000/health/live" in greeting(settings, 4000)


@pytest.mark.parametrize(
    ("host", "is_private"), [("::1", True), ("127.0.0.2", True), ("::", False), ("10.0.0.1", False)]
)
def test_what_is_private(host: str, *, is_private: bool) -> None:
    """Loopback is all of 127.0.0.0/8, and ::1."""
    assert read_settings({"HOST": host}, None).is_private is is_private


@has_ipv6
@pytest.mark.parametrize(("host", "is_ipv6_only"), [("::", False), ("::1", True)])
def test_both_families(host: str, *, is_ipv6_only: bool) -> None:
    """`::` takes IPv4 as well, so it is not free where somebody listens on IPv4."""
    settings = read_settings({"HOST": host, "PORT": str(free_port())}, None)
    with bind(settings) as listener:
        assert listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == is_ipv6_only
    with socket.socket() as other:
        other.bind(("127.0.0.1", settings.port))
        other.listen()
        if is_ipv6_only:
            bind(settings).close()
        else:
            with pytest.raises(OSError, match="in use"):
                bind(settings)


@has_ipv6
def test_doctor_looks_there(keys: Keys) -> None:
    """What is to listen on ::1 is looked for there."""
    port = str(free_port())
    done = CliRunner().invoke(main, ["doctor"], env={**keys.environment(), "HOST": "::1", "PORT": port})
    assert f"[::1]:{port} is free" in done.output
