"""The Kubernetes manifests fit the API, the server's settings and each other."""

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import msgspec
import pytest
import yaml

from app.cli.server import SHUTDOWN_SECONDS
from app.settings import Settings, read_settings

KUBERNETES = "1.37"
DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = sorted(path.name for path in DEPLOY.glob("*.yaml") if path.name != "kustomization.yaml")
BYTES = {"Mi": 1 << 20, "Gi": 1 << 30}


def load(name: str) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return manifest


@pytest.fixture
def deployment() -> dict[str, Any]:
    return load("deployment.yaml")


@pytest.fixture
def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    assert isinstance(only, dict)
    return only


@pytest.fixture
def settings() -> Settings:
    return read_settings(load("configmap.yaml")["data"], dotenv=None)


@pytest.mark.parametrize("name", MANIFESTS)
def test_fits_the_api(name: str) -> None:
    """Each manifest is valid, with no unknown field."""
    kubernetes_validate.validate(load(name), KUBERNETES, strict=True)


def test_kustomization_lists_every_manifest() -> None:
    """The kustomization applies each manifest once, and tags the image that the Deployment names."""
    kustomization = load("kustomization.yaml")
    assert sorted(kustomization["resources"]) == MANIFESTS
    (container,) = load("deployment.yaml")["spec"]["template"]["spec"]["containers"]
    assert [image["name"] for image in kustomization["images"]] == [container["image"]]


@pytest.mark.parametrize("name", MANIFESTS)
def test_recommended_labels(name: str) -> None:
    """Each object has the same recommended labels as the pods."""
    labels = load(name)["metadata"]["labels"]
    assert labels == load("deployment.yaml")["spec"]["template"]["metadata"]["labels"]
    assert {f"app.kubernetes.io/{label}" for label in ("name", "component", "part-of")} <= labels.keys()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("deployment.yaml", ("selector", "matchLabels")),
        ("service.yaml", ("selector",)),
        ("poddisruptionbudget.yaml", ("selector", "matchLabels")),
        ("networkpolicy.yaml", ("podSelector", "matchLabels")),
    ],
)
def test_selectors_match_the_pods(deployment: dict[str, Any], name: str, path: tuple[str, ...]) -> None:
    """Each selector has labels, and all of them are on the Deployment's pods."""
    selector = load(name)["spec"]
    for key in path:
        selector = selector[key]
    assert selector
    assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_references_between_manifests(
    deployment: dict[str, Any], pod: dict[str, Any], container: dict[str, Any]
) -> None:
    """The autoscaler, the environment and the service account name objects that are there."""
    target = {key: deployment[key] for key in ("apiVersion", "kind")} | {"name": deployment["metadata"]["name"]}
    assert load("hpa.yaml")["spec"]["scaleTargetRef"] == target
    assert container["envFrom"] == [{"configMapRef": {"name": load("configmap.yaml")["metadata"]["name"]}}]
    account = load("serviceaccount.yaml")
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("probe", "path"),
    [
        ("startupProbe", "/health/live"),
        ("livenessProbe", "/health/live"),
        ("readinessProbe", "/health/ready"),
    ],
)
def test_probes(container: dict[str, Any], probe: str, path: str) -> None:
    """Each probe asks the health path meant for it, on the named port."""
    assert container[probe]["httpGet"] == {"path": path, "port": "http"}


def test_time_to_stop(pod: dict[str, Any], settings: Settings) -> None:
    """A pod is not killed before it has drained and the last sockets have had the time to answer."""
    assert pod["terminationGracePeriodSeconds"] > settings.drain_seconds + SHUTDOWN_SECONDS


def test_ports(container: dict[str, Any], settings: Settings) -> None:
    """The server, the container, the Service and the NetworkPolicy speak of one port."""
    assert container["ports"] == [{"name": "http", "containerPort": settings.port}]
    assert [port["targetPort"] for port in load("service.yaml")["spec"]["ports"]] == ["http"]
    (rule,) = load("networkpolicy.yaml")["spec"]["ingress"]
    assert rule["from"]
    assert rule["ports"] == [{"protocol": "TCP", "port": settings.port}]


def test_only_name_lookups_go_out() -> None:
    """The NetworkPolicy holds both directions and lets out nothing but DNS."""
    spec = load("networkpolicy.yaml")["spec"]
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    (rule,) = spec["egress"]
    assert rule["to"]
    assert [port["port"] for port in rule["ports"]] == [53, 53]


def test_restricted(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """The container is not root, cannot become it and cannot write to its own files."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_settings_are_known() -> None:
    """Each key of the ConfigMap is a setting's name."""
    known = {info.encode_name for info in msgspec.structs.fields(Settings)}
    assert load("configmap.yaml")["data"].keys() <= known


def test_settings_are_for_production(settings: Settings) -> None:
    """The server takes the ConfigMap's values, is in production and hands out no tokens."""
    assert settings.app_env == "production"
    assert not settings.hands_out_dev_tokens


def test_public_key_only(pod: dict[str, Any], container: dict[str, Any], settings: Settings) -> None:
    """The public key is where the settings look for it, and the private key is not mounted."""
    (volume,) = pod["volumes"]
    assert volume["secret"] == {
        "secretName": "peersync-jwt",
        "items": [{"key": "public.pem", "path": settings.jwt_public_key_path.name}],
    }
    mount = {"name": volume["name"], "mountPath": str(settings.jwt_public_key_path.parent), "readOnly": True}
    assert container["volumeMounts"] == [mount]


def test_memory_store_means_one_replica(deployment: dict[str, Any], settings: Settings) -> None:
    """While the store is in memory, there is never a second replica, not even during an update."""
    if settings.store_url == "memory://":
        hpa = load("hpa.yaml")["spec"]
        assert (deployment["spec"]["replicas"], hpa["minReplicas"], hpa["maxReplicas"]) == (1, 1, 1)
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_memory_limit_leaves_room(container: dict[str, Any], settings: Settings) -> None:
    """The memory limit is well above what the settings let wait in memory."""
    limit = container["resources"]["limits"]["memory"]
    waiting = settings.outbox_total_bytes + settings.replay_total_bytes
    assert int(limit[:-2]) * BYTES[limit[-2:]] >= 1.5 * waiting
    assert container["resources"]["requests"].keys() == container["resources"]["limits"].keys() == {"cpu", "memory"}
