"""The Helm chart renders to objects that fit the API, the server's settings and each other."""

import json
import re
import shutil
from collections.abc import Iterator
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import msgspec
import pytest
import yaml
from jsonschema import Draft202012Validator

from app.cli.server import SHUTDOWN_SECONDS
from app.rest.endpoints import ENDPOINTS
from app.settings import Settings, read_settings
from stores.redis.stores import PATIENCE_SECONDS
from tests.support.helm import Helm, Manifest, helm

KUBERNETES = "1.37"
CHART = Path(__file__).parents[2] / "deploy" / "helm" / "peersync"
RELEASE = "dev"
NAME = "dev-peersync"
BYTES = {"Mi": 1 << 20, "Gi": 1 << 30}
OF_THE_CHART = {"APP_ENV", "DEV_TOKENS", "HOST", "JWT_PRIVATE_KEY", "JWT_PRIVATE_KEY_PATH", "JWT_PUBLIC_KEY"} | {
    *("JWT_PUBLIC_KEY_PATH", "LOG_FORMAT", "PORT", "STORE_URL", "TLS_CERT_PATH", "TLS_KEY_PATH")
}

VALUES: dict[str, Manifest] = {
    "defaults": {},
    "external": {"store": {"url": "rediss://ann:secret@redis.example.com:6380/0"}},
    "secrets": {"store": {"existingSecret": "store"}, "jwt": {"publicKey": "-----BEGIN PUBLIC KEY-----\nx\n"}},
    "ingress": {"ingress": {"enabled": True, "tlsSecret": "tls"}},
    "hpa": {"autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 9}},
    "monitor": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "provider": {
        "jwt": {"existingSecret": ""},
        "settings": {"JWT_JWKS_URL": "https://id.example.com/keys", "DRAIN_SECONDS": "45.5"},
        "valkey": {"existingSecret": "own", "storage": {"className": "fast"}},
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "x", "operator": "Exists"}],
        "networkPolicy": {"egress": [{"ports": [{"protocol": "TCP", "port": 8443}]}]},
    },
    "open": {"networkPolicy": {"enabled": False}},
    "at once": {"preStopSeconds": 0, "settings": {"DRAIN_SECONDS": "0"}},
}


class Rendered:
    """What the chart makes of some values."""

    def __init__(self, manifests: list[Manifest]) -> None:
        self.manifests = manifests

    def kinds(self) -> set[str]:
        return {each["kind"] for each in self.manifests}

    def get(self, kind: str, name: str = NAME) -> Manifest:
        (found,) = [each for each in self.manifests if (each["kind"], each["metadata"]["name"]) == (kind, name)]
        return found

    def pod(self) -> Manifest:
        pod: Manifest = self.get("Deployment")["spec"]["template"]["spec"]
        return pod

    def server(self) -> Manifest:
        (container,) = self.pod()["containers"]
        assert isinstance(container, dict)
        return container

    def settings(self) -> Settings:
        return read_settings(self.get("ConfigMap")["data"], dotenv=None)


@pytest.fixture(scope="session")
def library() -> Iterator[Helm]:
    with helm() as made:
        yield made


async def rendered(library: Helm, name: str) -> Rendered:
    return Rendered(await library.render(CHART, RELEASE, VALUES[name]))


@pytest.mark.parametrize("name", VALUES)
async def test_fits_the_api(library: Helm, name: str) -> None:
    """Each object is valid, with no unknown field, and there once; but the API does not know ServiceMonitors."""
    made = await rendered(library, name)
    for manifest in made.manifests:
        if manifest["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    names = [(each["kind"], each["metadata"]["name"]) for each in made.manifests]
    assert len(set(names)) == len(names) >= 7


@pytest.mark.parametrize("names", [pair for pair in combinations(VALUES, 2) if pair != ("external", "secrets")])
async def test_values_go_together(library: Helm, names: tuple[str, str]) -> None:
    """Whatever is chosen with whatever else, each object is valid; but for two stores, which are refused."""
    values = reduce(_with, (VALUES[name] for name in names))
    for manifest in await library.render(CHART, RELEASE, values):
        if manifest["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def _with(values: Manifest, more: Manifest) -> Manifest:
    """Return these values and more, as Helm puts together several files of them."""
    shared = {name: each for name, each in more.items() if name in values and isinstance(each, dict)}
    return values | more | {name: _with(values[name], each) for name, each in shared.items()}


async def test_lint(library: Helm, tmp_path: Path) -> None:
    """Helm finds nothing wrong with the chart; it would."""
    assert await library.lint(CHART) == []
    copy = shutil.copytree(CHART, tmp_path / "peersync")
    (copy / "templates" / "broken.yaml").write_text("a: {{ .Values.replicas.of.what }}")
    assert await library.lint(copy) != []


@pytest.mark.parametrize("name", VALUES)
async def test_selectors_match_the_pods(library: Helm, name: str) -> None:
    """Each selector finds the pods of one component of one release, and each object has its labels."""
    made = await rendered(library, name)
    pods = {
        each["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: each
        for each in made.manifests
        if "template" in each.get("spec", {})
    }
    for manifest in made.manifests:
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == RELEASE
        for selector in _selectors(manifest):
            pod = pods[selector["app.kubernetes.io/component"]]["spec"]["template"]["metadata"]["labels"]
            assert len(selector) == 3
            assert selector.items() <= pod.items()


def _selectors(manifest: Any) -> Iterator[dict[str, str]]:
    if isinstance(manifest, dict):
        if "app.kubernetes.io/component" in manifest and "app.kubernetes.io/managed-by" not in manifest:
            yield manifest
        manifest = list(manifest.values())
    for each in manifest if isinstance(manifest, list) else ():
        yield from _selectors(each)


@pytest.mark.parametrize("name", VALUES)
async def test_settings(library: Helm, name: str) -> None:
    """The server takes the settings, is in production, hands out no tokens, and finds its keys and its port."""
    made = await rendered(library, name)
    settings, server = made.settings(), made.server()
    assert (settings.app_env, settings.hands_out_dev_tokens, settings.log_format) == ("production", False, "json")
    assert server["ports"] == [{"name": "http", "containerPort": settings.port}]
    assert server["envFrom"] == [{"configMapRef": {"name": NAME}}]
    keys = {mount["mountPath"] for mount in server.get("volumeMounts", ())}
    assert keys == (set() if settings.jwt_jwks_url else {str(settings.jwt_public_key_path.parent)})


@pytest.mark.parametrize("name", VALUES)
async def test_time_to_stop(library: Helm, name: str) -> None:
    """A pod is not killed before proxies let go of it, it has drained, and the last sockets had the time to answer."""
    made = await rendered(library, name)
    hook = made.server().get("lifecycle", {"preStop": {"exec": {"command": ["sleep", "0"]}}})
    (sleep, seconds) = hook["preStop"]["exec"]["command"]
    assert (sleep, int(seconds)) == ("sleep", 0 if name == "at once" else 5)
    least = int(seconds) + made.settings().drain_seconds + SHUTDOWN_SECONDS + 2 * PATIENCE_SECONDS
    assert made.pod()["terminationGracePeriodSeconds"] > least


@pytest.mark.parametrize("name", VALUES)
async def test_one_drains_at_a_time(library: Helm, name: str) -> None:
    """An update goes on to the next node when the one before has drained; it has the time to."""
    spec = (await rendered(library, name)).get("Deployment")["spec"]
    assert spec["minReadySeconds"] >= spec["template"]["spec"]["terminationGracePeriodSeconds"]
    assert spec["progressDeadlineSeconds"] >= spec["minReadySeconds"] + 600


async def test_what_restarts_the_pods(library: Helm) -> None:
    """Pods are replaced when what they read only once changes."""
    first = await rendered(library, "external")
    for values in ({"store": {"url": "redis://other"}}, {"settings": {"LOG_LEVEL": "debug"}}):
        other = Rendered(await library.render(CHART, RELEASE, VALUES["external"] | values))
        assert _annotations(other.get("Deployment")) != _annotations(first.get("Deployment"))
    again = await rendered(library, "external")
    assert _annotations(again.get("Deployment")) == _annotations(first.get("Deployment"))
    smaller = Rendered(await library.render(CHART, RELEASE, {"valkey": {"maxmemory": "96mb"}}))
    usual, name = await rendered(library, "defaults"), f"{NAME}-valkey"
    assert _annotations(smaller.get("StatefulSet", name)) != _annotations(usual.get("StatefulSet", name))
    assert _annotations(smaller.get("Deployment")) == _annotations(usual.get("Deployment"))


def _annotations(workload: Manifest) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["annotations"]
    return found


async def test_nodes(library: Helm) -> None:
    """There are several, apart from each other where that can be, replaced one at a time by one that is ready."""
    spec = (await rendered(library, "defaults")).get("Deployment")["spec"]
    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    apart = spec["template"]["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    keys = [(each["weight"], each["podAffinityTerm"]["topologyKey"]) for each in apart]
    assert sorted(keys) == [(50, "topology.kubernetes.io/zone"), (100, "kubernetes.io/hostname")]
    server = (await rendered(library, "defaults")).server()
    assert server["livenessProbe"]["httpGet"]["path"] == server["startupProbe"]["httpGet"]["path"] == "/health/live"
    assert server["readinessProbe"]["httpGet"]["path"] == "/health/ready"


@pytest.mark.parametrize("name", VALUES)
async def test_restricted(library: Helm, name: str) -> None:
    """No container is root, can become it, or can write to its own files; none has a token of the cluster's."""
    manifests = (await rendered(library, name)).manifests
    pods = [each["spec"]["template"]["spec"] for each in manifests if each["kind"] in {"Deployment", "StatefulSet"}]
    assert pods
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"].keys() == {"requests", "limits"}


@pytest.mark.parametrize(
    ("name", "secret", "is_made"),
    [
        ("defaults", f"{NAME}-store", True),
        ("external", f"{NAME}-store", True),
        ("secrets", "store", False),
        ("provider", "own", False),
    ],
)
async def test_store_url(library: Helm, name: str, secret: str, is_made: bool) -> None:
    """The store's URL is in a secret, which the chart makes unless it is given one, and in nothing else."""
    made = await rendered(library, name)
    (variable,) = made.server()["env"]
    assert variable == {"name": "STORE_URL", "valueFrom": {"secretKeyRef": {"name": secret, "key": "STORE_URL"}}}
    assert "STORE_URL" not in made.get("ConfigMap")["data"]
    secrets = [each for each in made.manifests if each["kind"] == "Secret" and each["metadata"]["name"] == secret]
    assert len(secrets) == is_made
    for each in secrets:
        read_settings({"STORE_URL": each["stringData"]["STORE_URL"]}, dotenv=None)


async def test_bundled_valkey(library: Helm) -> None:
    """It writes to disk, forgets nothing by itself, asks for the server's password, and stays small enough."""
    made = await rendered(library, "defaults")
    secret = made.get("Secret", f"{NAME}-store")["stringData"]
    config = dict(line.split(" ", 1) for line in secret["valkey.conf"].splitlines())
    assert (config["appendonly"], config["appendfsync"], config["maxmemory-policy"]) == (
        "yes",
        "everysec",
        "noeviction",
    )
    password = config["requirepass"]
    assert len(password) == 40
    assert secret["password"] == password
    assert secret["STORE_URL"] == f"redis://:{password}@{NAME}-valkey:6379/0"
    spec = made.get("StatefulSet", f"{NAME}-valkey")["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    limit = container["resources"]["limits"]["memory"]
    assert int(limit[:-2]) * BYTES[limit[-2:]] >= 2 * int(config["maxmemory"][:-2]) << 20
    assert (spec["serviceName"], spec["replicas"]) == (f"{NAME}-valkey", 1)
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/etc/valkey"}
    assert config["dir"] == "/data"


async def test_password_is_made_once(library: Helm) -> None:
    """An upgrade keeps the password that the first installation made; another installation makes another."""
    (first, other) = [(await rendered(library, "defaults")).get("Secret", f"{NAME}-store") for _ in range(2)]
    assert first["stringData"]["password"] != other["stringData"]["password"]
    library.cluster.hold(first, RELEASE)
    try:
        again = (await rendered(library, "defaults")).get("Secret", f"{NAME}-store")
    finally:
        library.cluster.held.clear()
    assert again["stringData"] == first["stringData"]


@pytest.mark.parametrize("name", ["external", "secrets"])
async def test_no_valkey_beside_another_store(library: Helm, name: str) -> None:
    """With a store of one's own there is no other."""
    assert "StatefulSet" not in (await rendered(library, name)).kinds()


async def test_network_policies(library: Helm) -> None:
    """The ingress and Prometheus reach the server, the server names and the store, and only the server Valkey."""
    made = await rendered(library, "monitor")
    spec = made.get("NetworkPolicy")["spec"]
    (rule,) = spec["ingress"]
    assert [each["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for each in rule["from"]] == [
        "ingress-nginx",
        "monitoring",
    ]
    assert rule["ports"] == [{"protocol": "TCP", "port": made.settings().port}]
    assert [[port["port"] for port in rule["ports"]] for rule in spec["egress"]] == [[53, 53], [6379]]
    store = made.get("NetworkPolicy", f"{NAME}-valkey")["spec"]
    (rule,) = store["ingress"]
    assert rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "server"
    assert (store["egress"], set(store["policyTypes"])) == ([], {"Ingress", "Egress"})


@pytest.mark.parametrize(("name", "ports"), [("external", [6380]), ("secrets", [6379, 26379]), ("provider", [443])])
async def test_ways_out(library: Helm, name: str, ports: list[int]) -> None:
    """A store elsewhere and an identity provider can be reached."""
    egress = (await rendered(library, name)).get("NetworkPolicy")["spec"]["egress"]
    assert ports in [[port["port"] for port in rule["ports"]] for rule in egress]


@pytest.mark.parametrize(
    ("store", "ports"),
    [
        ({"url": "redis://redis.example.com:7000/0"}, [7000]),
        ({"url": "redis://redis.example.com"}, [6379]),
        ({"url": "redis://ann:s%40cret@[::1]:7000?password=a@b:9"}, [7000]),
        ({"url": "rediss://[::1]/0?ssl_ca_certs=/ca:80"}, [6379]),
        ({"url": "redis://redis.example.com:7000/0", "ports": [7001, 7000]}, [7000, 7001]),
        ({"url": "redis+sentinel://:x@a:5000,b,c:5000/main/0"}, [5000, 26379, 6379]),
        ({"url": "rediss+sentinel://a:5000/main/0", "ports": [7000]}, [5000, 7000]),
        ({"existingSecret": "store", "ports": [7000]}, [7000]),
    ],
)
async def test_ports_of_the_store(library: Helm, store: Manifest, ports: list[int]) -> None:
    """The server is let out to where its store's URL says, and to what else is named."""
    made = Rendered(await library.render(CHART, RELEASE, {"store": store}))
    (_, rule) = made.get("NetworkPolicy")["spec"]["egress"]
    assert [port["port"] for port in rule["ports"]] == ports


async def test_open_network(library: Helm) -> None:
    """Policies can be left out."""
    assert "NetworkPolicy" not in (await rendered(library, "open")).kinds()


async def test_ingress(library: Helm) -> None:
    """An ingress waits longer than the heartbeat on a silent connection, and has TLS if there is a secret for it."""
    made = await rendered(library, "ingress")
    ingress = made.get("Ingress")
    annotations = ingress["metadata"]["annotations"]
    beat = made.settings().ws_heartbeat_interval / 1000
    for way in ("read", "send"):
        assert int(annotations[f"nginx.ingress.kubernetes.io/proxy-{way}-timeout"]) > 2 * beat
    (tls,) = ingress["spec"]["tls"]
    (rule,) = ingress["spec"]["rules"]
    assert tls == {"hosts": [rule["host"]], "secretName": "tls"}
    paths = rule["http"]["paths"]
    assert paths[0]["path"] == made.settings().ws_path
    assert all(path["backend"]["service"] == {"name": NAME, "port": {"name": "http"}} for path in paths)


async def test_autoscaler(library: Helm) -> None:
    """The autoscaler alone says how many nodes there are."""
    made = await rendered(library, "hpa")
    assert "replicas" not in made.get("Deployment")["spec"]
    spec = made.get("HorizontalPodAutoscaler")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 9)
    (metric,) = spec["metrics"]
    assert metric["resource"]["target"] == {"type": "AverageValue", "averageValue": "600m"}
    assert made.server()["resources"]["limits"]["cpu"] == "1"
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}


async def test_service_monitor(library: Helm) -> None:
    """Prometheus finds the metrics by the Service's port, under the job that dashboard and alerts expect."""
    made = await rendered(library, "monitor")
    monitor = made.get("ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    (port,) = made.get("Service")["spec"]["ports"]
    assert (endpoint["port"], endpoint["path"], port["targetPort"]) == (port["name"], "/metrics", "http")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= made.get("Service")["metadata"]["labels"].items()
    assert made.get("Service")["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "peersync"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


async def test_a_name_that_says_it(library: Helm) -> None:
    """A release that is called after the chart does not say so twice."""
    made = Rendered(await library.render(CHART, "peersync", {}))
    assert made.get("Deployment", "peersync")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"jwt": {"existingSecret": ""}}, "set jwt.existingSecret, jwt.publicKey or settings.JWT_JWKS_URL"),
        ({"replicas": 0}, "replicas"),
        ({"autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 2}}, "minReplicas"),
        ({"preStopSeconds": -1}, "preStopSeconds"),
        ({"store": {"url": "memory://"}}, "url"),
        ({"store": {"url": "redis://x", "existingSecret": "y"}}, "store"),
        ({"settings": {"STORE_URL": "redis://x"}}, "STORE_URL"),
        ({"settings": {"DRAIN_SECOND": "5"}}, "DRAIN_SECOND"),
        ({"networkPolicy": {"ingressNamespaces": []}}, "ingressNamespaces"),
        ({"replica": 3}, "replica"),
    ],
)
async def test_refused_values(library: Helm, values: Manifest, says: str) -> None:
    """Values that cannot be meant are refused, by name."""
    with pytest.raises(library.error, match=re.escape(says)):
        await library.render(CHART, RELEASE, values)


def test_schema_of_values() -> None:
    """The schema is one, knows each setting that is not the chart's own to set, and takes the defaults."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    Draft202012Validator(schema).validate(values)
    assert values.keys() | {"global"} == schema["properties"].keys()
    known = {info.encode_name for info in msgspec.structs.fields(Settings)}
    assert set(schema["properties"]["settings"]["propertyNames"]["enum"]) == known - OF_THE_CHART


def test_what_is_published() -> None:
    """The ingress publishes all that is served, but not what is for Prometheus."""
    published = yaml.safe_load((CHART / "values.yaml").read_text())["ingress"]["paths"]
    hidden = [
        each.path for each in ENDPOINTS if not f"{each.path}/".startswith(tuple(f"{path}/" for path in published))
    ]
    assert hidden == ["/metrics"]
    template = (CHART / "templates" / "ingress.yaml").read_text()
    assert "path: /\n" not in template


def test_memory_leaves_room() -> None:
    """The memory limit is well above what the settings let wait in memory."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    settings = read_settings(values["settings"], dotenv=None)
    limit = values["resources"]["limits"]["memory"]
    waiting = settings.outbox_total_bytes + settings.replay_total_bytes
    assert int(limit[:-2]) * BYTES[limit[-2:]] >= 1.5 * waiting


def test_version() -> None:
    """The chart names the image that the manifests name."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    kustomization = yaml.safe_load((CHART.parents[1] / "kustomization.yaml").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert kustomization["images"] == [{"name": values["image"]["repository"], "newTag": chart["appVersion"]}]
