"""Helm for tests: its own library installs a chart into a stand-in for a cluster, which says yes to everything."""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest
import yaml

RESOURCES = {
    "v1": ["ConfigMap", "Secret", "Service", "ServiceAccount"],
    "apps/v1": ["Deployment", "StatefulSet"],
    "autoscaling/v2": ["HorizontalPodAutoscaler"],
    "monitoring.coreos.com/v1": ["ServiceMonitor"],
    "networking.k8s.io/v1": ["Ingress", "NetworkPolicy"],
    "policy/v1": ["PodDisruptionBudget"],
}
IRREGULAR = {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"}
NOWHERE = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
TIMEOUT_SECONDS = 20
RECOMMENDED = 1
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: only, cluster: {server: "http://127.0.0.1:%d"}}]
users: [{name: only, user: {}}]
contexts: [{name: only, context: {cluster: only, user: only}}]
current-context: only
"""

Manifest = dict[str, Any]


class Cluster(ThreadingHTTPServer):
    """On 127.0.0.1. It holds only what a test puts into `held`, by path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.held: dict[str, Manifest] = {}

    def hold(self, secret: Manifest, release: str) -> None:
        """Have a secret there already, as an earlier version of a release left it."""
        data = {name: b64encode(value.encode()).decode() for name, value in secret["stringData"].items()}
        metadata = secret["metadata"] | {
            "namespace": "default",
            "annotations": {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": "default"},
        }
        held = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data}
        self.held[f"/api/v1/namespaces/default/secrets/{metadata['name']}"] = held


class Answer(BaseHTTPRequestHandler):
    """Knows the kinds that charts here have, and answers what it is given with that."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer goes out whole

    def do_GET(self) -> None:
        assert isinstance(self.server, Cluster)
        found = (_discovery() | self.server.held).get(self.path.partition("?")[0])
        self._answer(404 if found is None else 200, "application/json", msgspec.json.encode(found or NOWHERE))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(201, self.headers["Content-Type"], body)

    do_PUT = do_POST  # noqa: N815 - as the library calls it

    def do_PATCH(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _discovery() -> dict[str, Manifest]:
    """Return what a cluster says about itself, by path."""
    groups = []
    answers: dict[str, Manifest] = {
        "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
    }
    for group, kinds in RESOURCES.items():
        name, _, version = group.rpartition("/")
        if name:
            known = {"groupVersion": group, "version": version}
            groups.append({"name": name, "versions": [known], "preferredVersion": known})
        resources = [
            {"name": IRREGULAR.get(kind, f"{kind.lower()}s"), "namespaced": True, "kind": kind, "verbs": ["create"]}
            for kind in kinds
        ]
        path = f"/apis/{group}" if name else "/api/v1"
        answers[path] = {"kind": "APIResourceList", "groupVersion": group, "resources": resources}
    answers["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    return answers


class Helm:
    """Renders charts. Only where its library is to be had: Python 3.12 or newer on Linux, x86-64."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._library = pytest.importorskip("helm_sdkpy", reason="helm-sdkpy needs Python 3.12 on Linux, x86-64")
        self._kubeconfig = KUBECONFIG % cluster.server_port

    @property
    def error(self) -> type[Exception]:
        """What is raised for values that a chart refuses."""
        kind: type[Exception] = self._library.InstallError
        return kind

    async def render(self, chart: Path, release: str, values: Manifest) -> list[Manifest]:
        """Return the objects that are installed with these values."""
        install = self._library.Install(self._library.Configuration("default", self._kubeconfig))
        installed = await install.run(release, str(chart), values=values, wait=False, timeout=TIMEOUT_SECONDS)
        return [manifest for manifest in yaml.safe_load_all(installed["manifest"]) if manifest]

    async def lint(self, chart: Path) -> list[Manifest]:
        """Return what is wrong with a chart, as far as Helm can tell; not what it merely recommends."""
        linted = await self._library.Lint(self._library.Configuration("default", self._kubeconfig)).run(str(chart))
        return [message for message in linted["Messages"] if message["Severity"] > RECOMMENDED]


@contextmanager
def helm() -> Iterator[Helm]:
    """Run a stand-in for a cluster, and return Helm that is connected to it."""
    with Cluster() as cluster:
        thread = Thread(target=cluster.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Helm(cluster)
        finally:
            cluster.shutdown()
            thread.join()
