"""The compose file's services fit the server's settings, the proxy and each other."""

import re
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from app.cli.server import SHUTDOWN_SECONDS
from app.settings import Settings, read_settings
from tests.support.probes import passes

ROOT = Path(__file__).parents[2]
PROXY = "./deploy/haproxy/haproxy.cfg"
NODES = ["node1", "node2"]
Service = dict[str, Any]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Service]:
    found: dict[str, Service] = compose["services"]
    return found


@pytest.fixture(scope="module")
def settings(services: dict[str, Service]) -> Settings:
    return read_settings(services["node1"]["environment"], dotenv=None)


@pytest.fixture(scope="module")
def proxy() -> list[str]:
    """The lines of the proxy's configuration, without comments."""
    lines = (ROOT / PROXY).read_text().splitlines()
    return [line.partition(" #")[0].strip() for line in lines if line.strip()]


def test_services(compose: dict[str, Any], services: dict[str, Service]) -> None:
    """There are two nodes that are the same, a proxy and Valkey; each network and volume that they name is there."""
    assert services.keys() == {*NODES, "proxy", "valkey"}
    assert services["node1"] == services["node2"]
    assert {network for each in services.values() for network in each["networks"]} == compose["networks"].keys()
    assert services["valkey"]["volumes"] == [f"{volume}:/data" for volume in compose["volumes"]]


def test_settings(services: dict[str, Service], settings: Settings) -> None:
    """Each is a setting's name; the server takes them, is in production and hands out no tokens."""
    known = {info.encode_name for info in msgspec.structs.fields(Settings)}
    assert services["node1"]["environment"].keys() <= known
    assert (settings.app_env, settings.hands_out_dev_tokens) == ("production", False)
    assert services["node1"]["volumes"] == [f"./keys/public.pem:{settings.jwt_public_key_path}:ro"]
    assert settings.store_url == "redis://valkey:6379/0"


@pytest.mark.parametrize("name", [*NODES, "proxy", "valkey"])
def test_restricted(services: dict[str, Service], name: str) -> None:
    """No container can write to its own files, or become more than it is; each is asked whether it is healthy."""
    service = services[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["healthcheck"]["test"]


def test_order(services: dict[str, Service]) -> None:
    """A node starts when the store answers, and the proxy when both nodes are ready."""
    healthy = {"condition": "service_healthy"}
    assert services["node1"]["depends_on"] == {"valkey": healthy}
    assert services["proxy"]["depends_on"] == dict.fromkeys(NODES, healthy)


def test_a_node_is_healthy_when_ready(services: dict[str, Service], settings: Settings) -> None:
    """A node is asked for readiness, on its own port."""
    program = services["node1"]["healthcheck"]["test"][-1]
    assert f"'127.0.0.1', {settings.port}," in program
    assert "'/health/ready'" in program


@pytest.mark.parametrize("status", [200, 503])
def test_a_node_is_asked_directly(services: dict[str, Service], status: int) -> None:
    """The check passes where the node is ready, whatever proxies the environment names."""
    command, *arguments = services["node1"]["healthcheck"]["test"][1:]
    assert command == "python"
    assert passes(arguments[-1].replace("3000", "{port}"), status) is (status == 200)


def test_the_proxy_is_asked_directly(services: dict[str, Service]) -> None:
    """The check of the proxy uses no proxy."""
    assert services["proxy"]["healthcheck"]["test"][1:4] == ["wget", "-Y", "off"]


def test_time_to_stop(services: dict[str, Service], settings: Settings) -> None:
    """A node is not killed before it has drained and the last sockets have had the time to answer."""
    grace = services["node1"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > settings.drain_seconds + SHUTDOWN_SECONDS


def test_who_reaches_whom(compose: dict[str, Any], services: dict[str, Service]) -> None:
    """Only the proxy can be reached, from this machine; only the nodes reach Valkey."""
    networks = compose["networks"]
    assert [name for name in services if "ports" in services[name]] == ["proxy"]
    assert services["proxy"]["ports"] == ["127.0.0.1:3000:3000"]
    assert {name for name in services if "store" in services[name]["networks"]} == {*NODES, "valkey"}
    assert services["valkey"]["networks"] == ["store"]
    assert all(networks[name]["internal"] for name in ("front", "store"))


def test_whom_nodes_believe(compose: dict[str, Any], services: dict[str, Service], settings: Settings) -> None:
    """The nodes believe the network that only they and the proxy are in."""
    (network,) = compose["networks"]["front"]["ipam"]["config"]
    assert settings.trusted_proxies == (network["subnet"],)
    assert {name for name in services if "front" in services[name]["networks"]} == {*NODES, "proxy"}


def test_what_the_proxy_says_and_hides(proxy: list[str]) -> None:
    """The proxy sets where a client comes from, adds nothing to what that said itself, and publishes no metrics."""
    assert "http-request set-header X-Forwarded-For %[src]" in proxy
    assert not [line for line in proxy if "option forwardfor" in line or "add-header" in line]
    (hidden,) = [line for line in proxy if "metrics" in line]
    assert hidden.startswith("http-request return status 404 ")
    (pattern,) = re.findall(r"path,url_dec -m reg (\S+) }", hidden)
    assert all(re.search(pattern, path) for path in ("/metrics", "/metrics/", "//metrics"))
    assert not re.search(pattern, "/api/metrics")


def test_valkey_keeps_what_it_has(services: dict[str, Service]) -> None:
    """Valkey writes to disk each second and forgets nothing when it is full."""
    _, *words = shlex.split(services["valkey"]["command"])
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert (options["--appendonly"], options["--appendfsync"], options["--save"]) == ("yes", "everysec", "")
    assert options["--maxmemory-policy"] == "noeviction"


def test_proxy(proxy: list[str], services: dict[str, Service], settings: Settings) -> None:
    """The proxy knows each node, prefers the one with fewer sockets, and leaves out one that is not ready."""
    assert f"{PROXY}:/usr/local/etc/haproxy/haproxy.cfg:ro" in services["proxy"]["volumes"]
    servers = [line.split()[1:3] for line in proxy if line.startswith("server ")]
    assert servers == [[name, f"{name}:{settings.port}"] for name in NODES]
    assert {"balance leastconn", "option httpchk", "http-check send meth GET uri /health/ready"} <= set(proxy)
    assert {"bind :3000", "default_backend nodes", "backend nodes"} <= set(proxy)
    (checked,) = [line for line in proxy if line.startswith("default-server ")]
    assert "check inter 1s fall 1" in checked


def test_proxy_waits_for_silent_sockets(proxy: list[str], settings: Settings) -> None:
    """A WebSocket may be silent for longer than the heartbeat."""
    (tunnel,) = [found[1] for line in proxy if (found := re.fullmatch(r"timeout tunnel (\d+)s", line))]
    assert int(tunnel) > 2 * settings.ws_heartbeat_interval / 1000


def test_proxy_takes_as_many_as_a_node(proxy: list[str], settings: Settings) -> None:
    """The proxy takes no fewer connections than one node alone would."""
    assert f"maxconn {settings.max_connections}" in proxy


def test_image(services: dict[str, Service]) -> None:
    """The image is that of the manifests."""
    kustomization = yaml.safe_load((ROOT / "deploy" / "kustomization.yaml").read_text())
    names = [f"{image['name']}:{image['newTag']}" for image in kustomization["images"]]
    assert [services["node1"]["image"]] == names
